"""AdapterGenerator: one base model, several LoRA adapters, all kinds of rows in one running batch.

The engine and the evaluation step generate with the same code, so what was judged is what is served.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from serving.engines.adapter_files import AdapterWeights, read_adapter
from serving.engines.requests import ContextLengthExceeded, Delta, GenerationRequest, GenerationResult
from serving.engines.rows import Row
from serving.engines.text import TextStream
from tidegate.domain.example import Message
from tidegate.errors import Conflict, InvalidInput, NotFound
from tidegate.tokens import encode_answer, encode_prompt

if TYPE_CHECKING:
    import torch

Dtype = Literal["auto", "bfloat16", "float32"]
ADAPTABLE = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Layers that adapters may target: the projections of a Llama-like decoder."""
_PREFILL_TOKENS = 1024
"""Prompt tokens that may join one step: a step of more would hold up the rows that are decoding."""


class AdapterGenerator:
    """Generates for a base model and its adapters. Not thread-safe: one thread owns it.

    Args:
        base_dir: folder with config.json, safetensors and tokenizer; no code of a model is ever executed.
        dtype: "auto" is bfloat16 where the device multiplies it natively, else float32.
        device: where model, adapters and cache lie and every pass runs.
        max_model_length: prompt and answer together, in tokens; None: as long as the base allows.
        max_adapter_rank: columns per adapter slot.
        max_adapters: slots.
        max_batch_size: rows in one forward pass; further ones wait.

    Raises:
        NotFound: the folder holds no model.
        InvalidInput: the model's attention is not of a kind that the engine computes.
    """

    def __init__(
        self,
        base_dir: Path,
        *,
        dtype: Dtype = "auto",
        device: str | torch.device = "cpu",
        max_model_length: int | None = 512,
        max_adapter_rank: int = 32,
        max_adapters: int = 4,
        max_batch_size: int = 16,
    ) -> None:
        import torch  # noqa: PLC0415  torch and transformers take seconds

        from serving.engines.loading import load_base  # noqa: PLC0415
        from serving.engines.lora import AdapterBank  # noqa: PLC0415

        self._device = torch.device(device)
        base = load_base(base_dir, dtype, self._device)
        self.max_model_length = min(max_model_length or base.context_length, base.context_length)
        self.max_batch_size = max_batch_size
        self._model = base.model
        self._tokenizer = base.tokenizer
        self._ends = base.end_tokens
        self._cache = base.new_cache()
        self._bank = AdapterBank(base.model, slots=max_adapters, max_rank=max_adapter_rank, modules=ADAPTABLE)
        self._running: list[Row] = []  # by cache row
        self._waiting: deque[Row] = deque()
        self._next_row = 0

    @property
    def cache_bytes(self) -> int:
        """Memory of keys and values, on the device, when every place of the batch is as long as the window."""
        return self._cache.bytes_of(self.max_batch_size, self.max_model_length)

    # --- adapters -----------------------------------------------------------------------------------------------

    @property
    def adapters(self) -> tuple[str, ...]:
        """The ids of the loaded adapters."""
        return self._bank.adapters

    def load(self, adapter_id: str, folder: Path, digest: str | None = None) -> None:
        """Loads an adapter; rows that run meanwhile are not disturbed.

        Raises:
            NotFound, ContractBroken, InvalidInput: see `read_adapter` and `AdapterBank.load`.
            ResourceExhausted: all slots are taken.
        """
        self.install(adapter_id, read_adapter(folder, max_rank=self._bank.max_rank, digest=digest))

    def install(self, adapter_id: str, weights: AdapterWeights) -> None:
        """Puts an adapter that was read already (for example by another thread) into a slot; see `load`."""
        self._bank.load(adapter_id, weights)

    def unload(self, adapter_id: str) -> None:
        """Frees an adapter's slot.

        Raises:
            NotFound: it is not loaded.
            Conflict: requests for it are under way.
        """
        if adapter_id not in self._bank.adapters:
            raise NotFound(f"adapter {adapter_id!r} is not loaded")
        if used := self.in_use(adapter_id):
            raise Conflict(
                f"adapter {adapter_id!r} has {used} requests under way", next_step="Try again when they end."
            )
        self._bank.unload(adapter_id)

    def in_use(self, adapter_id: str) -> int:
        """Requests for the adapter that have not ended."""
        return sum(row.request.adapter == adapter_id for row in (*self._running, *self._waiting))

    # --- generation ---------------------------------------------------------------------------------------------

    def generate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        """All answers, in the order of the requests; adapters may be mixed at will."""
        rows = [self.add(request) for request in requests]
        results: dict[int, GenerationResult] = {}
        while self.busy:
            results.update((delta.row, delta.result) for delta in self.step() if delta.result is not None)
        return [results[row] for row in rows]

    def add(self, request: GenerationRequest) -> int:
        """Queues a request, to join at the next step with room; the row's number.

        Raises:
            NotFound: the adapter is not loaded.
            ContextLengthExceeded: prompt plus max_tokens is longer than the model's window.
            InvalidInput: there is no prompt, or max_tokens is not positive.
        """
        from serving.engines.sampling import Sampler  # noqa: PLC0415

        if request.adapter is not None and request.adapter not in self._bank.adapters:
            raise NotFound(
                f"adapter {request.adapter!r} is not loaded",
                next_step=f"Loaded are: {', '.join(self._bank.adapters) or 'none'}.",
            )
        prompt = self.encode(request.messages, request.text)
        limit = self._limit(len(prompt), request.max_tokens)
        row = Row(
            id=self._next_row,
            request=request,
            prompt=prompt,
            limit=limit,
            sampler=Sampler.of(request.temperature, request.top_p, request.seed),
            stream=TextStream(self._decode, request.stop),
        )
        self._next_row += 1
        self._waiting.append(row)
        return row.id

    def encode(self, messages: Sequence[Message], text: str | None) -> list[int]:
        """The prompt's tokens.

        Raises:
            InvalidInput: not exactly one of messages and text, or nothing in it.
        """
        if bool(messages) == (text is not None):
            raise InvalidInput("a request needs either messages or a text", next_step="Give exactly one of them.")
        tokens: list[int] = encode_prompt(self._tokenizer, messages) if messages else self._tokenizer.encode(text)
        if not tokens:
            raise InvalidInput("the prompt is empty", next_step="Give at least one character.")
        return tokens

    def answer_tokens(self, answer: str) -> int:
        """Tokens that an answer takes, with its end."""
        return len(encode_answer(self._tokenizer, answer))

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._running or self._waiting)

    def step(self) -> list[Delta]:
        """One forward pass: every running row gains a token, waiting rows run their prompts and join."""
        import torch  # noqa: PLC0415

        from serving.engines.sampling import pick  # noqa: PLC0415

        starting = self._admit()
        batch = [*self._running, *starting]
        if not batch:
            return []
        with torch.inference_mode():
            logits = self._forward(self._running, starting)
            tokens = pick(logits, [row.sampler for row in batch])
        for row in self._running:
            row.cached += 1
        for row in starting:
            row.cached = len(row.prompt)
        self._running = batch
        deltas = [self._advance(row, token) for row, token in zip(batch, tokens, strict=True)]
        for delta in deltas:
            if delta.result is not None:
                self._drop(delta.row)
        return deltas

    def cancel(self, row_id: int) -> None:
        """Ends a row wherever it is; an unknown number (it ended already) is no error."""
        self._waiting = deque(row for row in self._waiting if row.id != row_id)
        self._drop(row_id)

    def _limit(self, prompt_tokens: int, max_tokens: int | None) -> int:
        """Tokens that the answer may have."""
        left = self.max_model_length - prompt_tokens
        limit = max(left, 1) if max_tokens is None else max_tokens
        if limit < 1:
            raise InvalidInput(f"max_tokens is {max_tokens}", next_step="Ask for at least one token.")
        if limit > left:
            raise ContextLengthExceeded(
                f"the window holds {self.max_model_length} tokens, the prompt has {prompt_tokens} "
                f"and the answer may have {limit}",
                next_step="Shorten the messages or ask for fewer tokens.",
            )
        return limit

    # --- inside -------------------------------------------------------------------------------------------------

    def _admit(self) -> list[Row]:
        """Waiting rows that join now: as many as the batch and the prefill budget hold, at least one if any fits."""
        rows: list[Row] = []
        tokens = 0
        while self._waiting and len(self._running) + len(rows) < self.max_batch_size:
            tokens += len(self._waiting[0].prompt)
            if rows and tokens > _PREFILL_TOKENS:
                break
            rows.append(self._waiting.popleft())
        return rows

    def _forward(self, decoding: Sequence[Row], starting: Sequence[Row]) -> torch.Tensor:
        """Logits of every row's next token, (rows, vocabulary)."""
        import torch  # noqa: PLC0415

        from serving.engines.ragged import RaggedPass  # noqa: PLC0415

        ragged = RaggedPass.plan(self._cache, [row.cached for row in decoding], [len(row.prompt) for row in starting])
        tokens = [row.last for row in decoding]
        adapters = [row.request.adapter for row in decoding]
        for row in starting:
            tokens += row.prompt
            adapters += [row.request.adapter] * len(row.prompt)
        self._bank.select(adapters)
        model: Any = self._model
        hidden = model.model(
            input_ids=torch.tensor([tokens], device=self._device),
            position_ids=ragged.positions,
            use_cache=False,
            ragged=ragged,
        ).last_hidden_state
        logits: torch.Tensor = model.lm_head(hidden[0, ragged.last_tokens])
        return logits

    def _advance(self, row: Row, token: int) -> Delta:
        """The row after its new token."""
        row.last = token
        row.generated += 1
        if token in self._ends:
            return Delta(row.id, row.stream.finish(), row.result("stop"))
        text = row.stream.push(token)
        if row.stream.stopped:
            return Delta(row.id, text, row.result("stop"))
        if row.generated >= row.limit:
            text += row.stream.finish()
            return Delta(row.id, text, row.result("stop" if row.stream.stopped else "length"))
        return Delta(row.id, text)

    def _drop(self, row_id: int) -> None:
        """Takes a row out of the batch; the last row moves into its place in the cache."""
        place = next((place for place, row in enumerate(self._running) if row.id == row_id), None)
        if place is None:
            return
        last = self._running.pop()
        if last.id != row_id:
            self._cache.move(len(self._running), place, last.cached)
            self._running[place] = last

    def _decode(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text
