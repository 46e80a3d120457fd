"""The generator computes what PEFT computes, row by row, whatever is mixed in the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from serving.engines import sampling
from serving.engines.generator import AdapterGenerator, Dtype
from serving.engines.requests import ContextLengthExceeded, GenerationRequest, GenerationResult
from tests.devices import DEVICES
from tidegate.domain.example import Message
from tidegate.errors import Conflict, NotFound
from tidegate.ports import AdapterSlot
from tidegate.tokens import encode_prompt

pytestmark = pytest.mark.integration

STEPS = 4
TEXTS = (
    "my card has not arrived",
    "why was I charged twice for the same coffee this morning?",
    "hello",
    "please tell me how to change the PIN of the card that came in the post last week, I am abroad",
)


def turns(text: str) -> tuple[Message, ...]:
    return (Message(role="system", content="Bank intent. segment=retail"), Message(role="user", content=text))


@pytest.fixture(scope="module", params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    """Every test here runs on each; what PEFT computes is the CPU's."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def generator(base_folder: Path, slots: Sequence[AdapterSlot], device: str) -> AdapterGenerator:
    """In float32, where equal means equal."""
    generator = AdapterGenerator(
        base_folder,
        dtype="float32",
        device=device,
        max_adapter_rank=16,
        max_adapters=3,
        max_batch_size=4,
        max_model_length=160,
    )
    for slot in slots[:2]:
        generator.load(slot.id, Path(slot.uri), slot.digest)
    return generator


def mixed(slots: Sequence[AdapterSlot], max_tokens: int = 4) -> list[GenerationRequest]:
    """Eight requests: base and two adapters over four texts; twice as many as a batch holds."""
    adapters = (None, slots[0].id, slots[1].id)
    return [
        GenerationRequest(adapter=adapters[n % 3], messages=turns(TEXTS[n % 4]), max_tokens=max_tokens)
        for n in range(8)
    ]


@dataclass(frozen=True)
class Case:
    """A request, the tokens it is made to answer, and PEFT's logits for them, (steps, vocabulary)."""

    request: GenerationRequest
    answer: list[int]
    logits: torch.Tensor
    bare: torch.Tensor


@pytest.fixture(scope="module")
def cases(base_folder: Path, slots: Sequence[AdapterSlot]) -> list[Case]:
    """What PEFT computes in float32, one adapter and one row at a time."""
    from peft import PeftModel  # noqa: PLC0415  nine seconds that only this test needs
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(base_folder)
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32), slots[0].uri, slots[0].id.split("/")[1]
    )
    model.load_adapter(slots[1].uri, slots[1].id.split("/")[1])
    model.eval()
    cases = []
    for text, adapter in zip(TEXTS, (None, slots[0].id, slots[1].id, slots[0].id), strict=True):
        prompt = encode_prompt(tokenizer, turns(text))
        answer = tokenizer.encode("card_arrival of the day", add_special_tokens=False)[:STEPS]
        ids = torch.tensor([prompt + answer[:-1]])
        with torch.inference_mode():
            with model.disable_adapter():
                bare = model(ids).logits[0, len(prompt) - 1 :]
            logits = bare
            if adapter is not None:
                model.set_adapter(adapter.split("/")[1])
                logits = model(ids).logits[0, len(prompt) - 1 :]
        request = GenerationRequest(adapter=adapter, messages=turns(text), max_tokens=STEPS)
        cases.append(Case(request, answer, logits, bare))
    return cases


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-3), ("bfloat16", 0.25)])
def test_logits_are_those_of_peft_with_the_adapter_alone(
    base_folder: Path,
    slots: Sequence[AdapterSlot],
    cases: Sequence[Case],
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    dtype: Dtype,
    tolerance: float,
) -> None:
    """Root mean square over the vocabulary: bfloat16 resolves 1/8 at the size of these logits."""
    generator = AdapterGenerator(base_folder, dtype=dtype, device=device, max_adapter_rank=16, max_adapters=2)
    for slot in slots[:2]:
        generator.load(slot.id, Path(slot.uri))
    seen: list[torch.Tensor] = []

    def scripted(logits: torch.Tensor, _: object) -> list[int]:
        seen.append(logits.float().cpu())
        return [case.answer[len(seen) - 1] for case in cases]

    monkeypatch.setattr(sampling, "pick", scripted)
    generator.generate([case.request for case in cases])
    got = torch.stack(seen, 1)  # (rows, steps, vocabulary)

    for row, case in enumerate(cases):
        assert rms(got[row] - case.logits) < tolerance, f"row {row}, adapter {case.request.adapter}"
        if case.request.adapter is not None:
            assert rms(got[row] - case.bare) > 2 * tolerance, "adapters must matter, or nothing is proven"


def rms(values: torch.Tensor) -> float:
    """Root mean square."""
    return float(values.square().mean().sqrt())


def test_answers_do_not_depend_on_what_else_is_in_the_batch(
    generator: AdapterGenerator, slots: Sequence[AdapterSlot]
) -> None:
    requests = mixed(slots)
    together = generator.generate(requests)
    alone = [generator.generate([request])[0] for request in requests]
    assert together == alone
    assert len({result.text for result in together}) > 4


def test_rows_that_join_while_others_decode_change_nothing(
    generator: AdapterGenerator, slots: Sequence[AdapterSlot]
) -> None:
    requests = mixed(slots)[:4]
    expected = generator.generate(requests)
    results: dict[int, GenerationResult] = {}
    rows = []
    for request in requests:
        rows.append(generator.add(request))
        results |= {delta.row: delta.result for delta in generator.step() if delta.result is not None}
    while generator.busy:
        results |= {delta.row: delta.result for delta in generator.step() if delta.result is not None}
    assert [results[row] for row in rows] == expected


def test_a_cancelled_row_leaves_the_others_alone(generator: AdapterGenerator, slots: Sequence[AdapterSlot]) -> None:
    requests = mixed(slots)[:3]
    expected = generator.generate(requests)[2]
    rows = [generator.add(request) for request in requests]
    generator.step()
    generator.cancel(rows[0])
    generator.cancel(rows[0])
    results: dict[int, GenerationResult] = {}
    while generator.busy:
        results |= {delta.row: delta.result for delta in generator.step() if delta.result is not None}
    assert rows[0] not in results
    assert results[rows[2]] == expected


def test_the_pieces_of_a_stream_are_the_answer(generator: AdapterGenerator) -> None:
    request = GenerationRequest(messages=turns(TEXTS[1]), max_tokens=10)
    expected = generator.generate([request])[0]
    row = generator.add(request)
    text = ""
    while generator.busy:
        for delta in generator.step():
            assert delta.row == row
            text += delta.text
    assert text == expected.text


def test_an_answer_ends_at_a_stop_text_and_says_so(generator: AdapterGenerator) -> None:
    whole = generator.generate([GenerationRequest(messages=turns(TEXTS[1]), max_tokens=12)])[0]
    stop = whole.text.split()[2]
    cut = generator.generate([GenerationRequest(messages=turns(TEXTS[1]), max_tokens=12, stop=(stop,))])[0]
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert (cut.finish_reason, whole.finish_reason) == ("stop", "length")


def test_a_seed_repeats_a_sampled_answer(generator: AdapterGenerator) -> None:
    def sample(seed: int) -> str:
        request = GenerationRequest(messages=turns(TEXTS[0]), max_tokens=8, temperature=1.5, top_p=0.95, seed=seed)
        return generator.generate([request])[0].text

    assert sample(7) == sample(7)
    assert len({sample(seed) for seed in range(4)}) > 1


def test_a_small_nucleus_is_greedy(generator: AdapterGenerator) -> None:
    greedy, sampled = (
        generator.generate(
            [GenerationRequest(messages=turns(TEXTS[0]), max_tokens=4, temperature=temperature, top_p=1e-6)]
        )[0]
        for temperature in (0.0, 2.0)
    )
    assert sampled.text == greedy.text


def test_an_adapter_leaves_when_its_requests_have_ended(
    generator: AdapterGenerator, slots: Sequence[AdapterSlot]
) -> None:
    third = slots[2]
    generator.load(third.id, Path(third.uri), third.digest)
    generator.add(GenerationRequest(adapter=third.id, messages=turns(TEXTS[0]), max_tokens=2))
    with pytest.raises(Conflict, match="under way"):
        generator.unload(third.id)
    while generator.busy:
        generator.step()
    generator.unload(third.id)
    with pytest.raises(NotFound, match=third.id):
        generator.add(GenerationRequest(adapter=third.id, messages=turns(TEXTS[0])))


def test_a_request_that_does_not_fit_the_window_is_refused(generator: AdapterGenerator) -> None:
    with pytest.raises(ContextLengthExceeded, match="160 tokens"):
        generator.add(GenerationRequest(messages=turns("card " * 200), max_tokens=1))
    with pytest.raises(ContextLengthExceeded):
        generator.add(GenerationRequest(messages=turns("card"), max_tokens=150))
    filled = GenerationRequest(messages=turns("card " * 100), max_tokens=None)
    result = generator.generate([filled])[0]
    assert result.prompt_tokens + result.completion_tokens <= 160
