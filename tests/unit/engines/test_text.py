"""A growing answer: what is given out is the answer's text, cut at the first stop text, whatever the tokens."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from serving.engines.text import TextStream


def decode(tokens: Sequence[int]) -> str:
    """A tokenizer with one token a byte: characters come in halves."""
    return bytes(tokens).decode("utf-8", errors="replace")


def run(text: str, stop: Sequence[str] = ()) -> tuple[list[str], TextStream]:
    stream = TextStream(decode, stop)
    pieces = []
    for token in text.encode():
        pieces.append(stream.push(token))
        if stream.stopped:
            break
    return [*pieces, stream.finish()], stream


@given(st.text())
def test_the_pieces_are_the_text(text: str) -> None:
    pieces, stream = run(text)
    assert "".join(pieces) == stream.text == text


@given(st.text(alphabet="abc", max_size=30), st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=3))
def test_an_answer_ends_before_the_first_stop_text(text: str, stop: list[str]) -> None:
    pieces, stream = run(text, stop)
    # The first to be complete counts, as tokens arrive; of several that complete together, the longest.
    ends = [at + len(word) for word in stop if (at := text.find(word)) >= 0]
    seen = text[: min(ends)] if ends else text
    starts = [at for word in stop if (at := seen.find(word)) >= 0]
    assert "".join(pieces) == (seen[: min(starts)] if starts else text)
    assert stream.stopped == bool(ends)


def test_half_characters_are_held_back() -> None:
    pieces, _ = run("é!")
    assert pieces == ["", "é", "!", ""]


def test_text_that_could_become_a_stop_text_is_held_back() -> None:
    pieces, _ = run("a<b", ["<end>"])
    assert pieces == ["a", "", "<b", ""]


def test_a_half_character_at_the_end_is_given_out_as_the_tokenizer_shows_it() -> None:
    stream = TextStream(decode)
    assert stream.push(0xC3) == ""
    assert stream.finish() == "\ufffd"
