"""Turns a growing list of tokens into text, piece by piece, and watches for stop texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_INCOMPLETE = "\ufffd"
"""What a tokenizer decodes a half UTF-8 character to."""


class TextStream:
    """The text of one answer.

    Tokens are decoded in a window that starts at the last boundary, since a token's text depends on its neighbours;
    half characters and text that could become a stop text are held back.

    Args:
        decode: token ids → text.
        stop: texts that end the answer.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str] = ()) -> None:
        self._decode = decode
        self._stop = tuple(stop)
        self._tokens: list[int] = []
        self._window = 0
        self._read = 0
        self._held = ""
        self._text: list[str] = []
        self.stopped = False

    @property
    def text(self) -> str:
        """Everything given out so far."""
        return "".join(self._text)

    def push(self, token: int) -> str:
        """The text that this token releases; empty when it is held back. Sets `stopped` at a stop text."""
        self._tokens.append(token)
        before = self._decode(self._tokens[self._window : self._read])
        after = self._decode(self._tokens[self._window :])
        if after.endswith(_INCOMPLETE):
            return ""
        self._window, self._read = self._read, len(self._tokens)
        return self._release(self._held + after[len(before) :], last=False)

    def finish(self) -> str:
        """The text still held back when the answer ends otherwise than by a stop text."""
        if self.stopped:
            return ""
        before = self._decode(self._tokens[self._window : self._read])
        after = self._decode(self._tokens[self._window :])
        return self._release(self._held + after[len(before) :], last=True)

    def _release(self, text: str, *, last: bool) -> str:
        found = [at for at in (text.find(stop) for stop in self._stop) if at >= 0]
        if found:
            self.stopped = True
            text, self._held = text[: min(found)], ""
        elif last:
            self._held = ""
        else:
            keep = max((_overlap(text, stop) for stop in self._stop), default=0)
            text, self._held = text[: len(text) - keep], text[len(text) - keep :]
        if text:
            self._text.append(text)
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
