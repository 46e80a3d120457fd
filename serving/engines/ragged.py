"""Attention over a ragged batch: rows of different lengths, some starting, some decoding, in one forward pass.

The forward pass sees one packed sequence (1, tokens), so linear layers spend nothing on padding and new rows join
between decode steps (iteration-level scheduling: Orca, OSDI 2022, section 3). Only attention needs to know where rows
begin: it is registered with transformers under the name `tidegate_ragged` and reads the batch's `RaggedPass`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

ATTENTION = "tidegate_ragged"
_GROWTH = 64
"""Tokens by which the cache grows: rare enough to be cheap, small enough not to waste memory on short rows."""


def _grown(length: int) -> int:
    """Tokens that the cache has room for when it must hold `length`."""
    return -(-length // _GROWTH) * _GROWTH


class KeyValueCache:
    """Keys and values of all running rows: per layer (rows, kv_heads, length, head_dim). Rows are kept without holes.

    Grows with the longest row and with the number of rows; a removed row's place is taken by the last row.
    """

    def __init__(self, layers: int, kv_heads: int, head_dim: int, dtype: torch.dtype, device: torch.device) -> None:
        self._shape = (kv_heads, head_dim)
        self.device = device
        self.keys = [torch.empty(0, kv_heads, 0, head_dim, dtype=dtype, device=device) for _ in range(layers)]
        self.values = [torch.empty(0, kv_heads, 0, head_dim, dtype=dtype, device=device) for _ in range(layers)]

    def bytes_of(self, rows: int, length: int) -> int:
        """Memory that `rows` rows of `length` tokens take."""
        each: int = self._shape[0] * self._shape[1] * self.keys[0].element_size()
        return 2 * len(self.keys) * rows * _grown(length) * each

    def reserve(self, rows: int, length: int) -> None:
        """Makes room for `rows` rows of `length` tokens, keeping what is there."""
        have_rows, _, have_length, _ = self.keys[0].shape
        if rows <= have_rows and length <= have_length:
            return
        rows = max(rows, have_rows)
        length = have_length if length <= have_length else _grown(length)
        for store in (self.keys, self.values):
            for layer, old in enumerate(store):
                new = torch.zeros(rows, self._shape[0], length, self._shape[1], dtype=old.dtype, device=old.device)
                new[:have_rows, :, :have_length] = old
                store[layer] = new

    def move(self, source: int, target: int, length: int) -> None:
        """Copies the first `length` tokens of row `source` over row `target`."""
        with torch.inference_mode():
            for tensor in (*self.keys, *self.values):
                tensor[target, :, :length] = tensor[source, :, :length]


@dataclass(frozen=True)
class _Decoding:
    """Rows with one new token each: cache rows 0 … rows-1."""

    lengths: torch.Tensor  # (rows,) tokens that are cached already
    mask: torch.Tensor  # (rows, 1, 1, span): which cached tokens a row sees
    index: torch.Tensor  # (rows,)

    @classmethod
    def plan(cls, lengths: Sequence[int], device: torch.device) -> _Decoding:
        held = torch.tensor(lengths, dtype=torch.long, device=device)
        span = torch.arange(max(lengths) + 1, device=device)
        mask = (span[None] <= held[:, None])[:, None, None]
        return cls(held, mask, torch.arange(len(lengths), device=device))

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        """(rows, heads, head_dim) queries, (rows, kv_heads, head_dim) keys → (rows, heads, head_dim)."""
        rows, heads, head_dim = query.shape
        kv_heads, span = key.shape[1], self.mask.shape[-1]
        keys[self.index, :, self.lengths] = key
        values[self.index, :, self.lengths] = value
        # Queries that share a key head stand as its query positions: grouped-query attention without repeating keys.
        grouped = query.reshape(rows, kv_heads, heads // kv_heads, head_dim)
        out = functional.scaled_dot_product_attention(
            grouped, keys[:rows, :, :span], values[:rows, :, :span], attn_mask=self.mask, scale=scaling
        )
        return out.reshape(rows, heads, head_dim)


@dataclass(frozen=True)
class _Starting:
    """Rows with a whole prompt: padded on the right, where the causal order hides the padding."""

    first: int  # their first cache row
    gather: torch.Tensor  # (rows, longest): packed token of every padded place
    scatter: torch.Tensor  # (tokens,): padded place of every packed token

    @classmethod
    def plan(cls, first: int, sizes: Sequence[int], device: torch.device) -> _Starting:
        lengths = torch.tensor(sizes, dtype=torch.long, device=device)
        offsets = torch.cumsum(lengths, 0) - lengths
        longest = max(sizes)
        span = torch.arange(longest, device=device)
        inside = span[None] < lengths[:, None]
        # Counted here, not on the device: asking a GPU which places are filled would wait for all that it has to do.
        places = [row * longest + place for row, size in enumerate(sizes) for place in range(size)]
        return cls(
            first,
            torch.where(inside, offsets[:, None] + span[None], 0),
            torch.tensor(places, dtype=torch.long, device=device),
        )

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        """(tokens, heads, head_dim) queries, (tokens, kv_heads, head_dim) keys → (tokens, heads, head_dim)."""
        heads, head_dim = query.shape[1:]
        padded_query, padded_key, padded_value = (part[self.gather].transpose(1, 2) for part in (query, key, value))
        rows, kv_heads, longest, _ = padded_key.shape
        keys[self.first : self.first + rows, :, :longest] = padded_key
        values[self.first : self.first + rows, :, :longest] = padded_value
        out = functional.scaled_dot_product_attention(
            padded_query,
            padded_key.repeat_interleave(heads // kv_heads, 1),
            padded_value.repeat_interleave(heads // kv_heads, 1),
            is_causal=True,
            scale=scaling,
        )
        return out.transpose(1, 2).reshape(-1, heads, head_dim)[self.scatter]


@dataclass(frozen=True)
class RaggedPass:
    """One forward pass: first the rows that decode, one token each, then the prompts of the rows that start."""

    cache: KeyValueCache
    decoding: _Decoding | None
    starting: _Starting | None
    positions: torch.Tensor
    """Position ids of the packed tokens, (1, tokens)."""
    last_tokens: torch.Tensor
    """Index of every row's last token among the packed ones, (rows,)."""

    @classmethod
    def plan(cls, cache: KeyValueCache, lengths: Sequence[int], starting: Sequence[int]) -> RaggedPass:
        """Reserves cache room and computes once what all layers share.

        Args:
            lengths: tokens that each decoding row has cached already; row i of the cache is the i-th.
            starting: prompt lengths in tokens; their cache rows follow.
        """
        decoding, device = len(lengths), cache.device
        positions = [*lengths, *(place for size in starting for place in range(size))]
        counts = torch.tensor([1] * decoding + list(starting), device=device)
        cache.reserve(decoding + len(starting), max([*(length + 1 for length in lengths), *starting]))
        return cls(
            cache,
            _Decoding.plan(lengths, device) if lengths else None,
            _Starting.plan(decoding, starting, device) if starting else None,
            torch.tensor([positions], dtype=torch.long, device=device),
            torch.cumsum(counts, 0) - 1,
        )


def ragged_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    ragged: RaggedPass,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of every row over its own tokens, in transformers' attention interface.

    Args:
        query: (1, heads, tokens, head_dim); key and value: (1, kv_heads, tokens, head_dim), positions applied.

    Returns:
        (1, tokens, heads, head_dim) and None for the attention weights.
    """
    keys, values = ragged.cache.keys[module.layer_idx], ragged.cache.values[module.layer_idx]
    q, k, v = (part[0].transpose(0, 1) for part in (query, key, value))  # (tokens, heads, head_dim)
    cut = 0 if ragged.decoding is None else len(ragged.decoding.lengths)
    parts = []
    if ragged.decoding is not None:
        parts.append(ragged.decoding.attend(q[:cut], k[:cut], v[:cut], keys, values, scaling))
    if ragged.starting is not None:
        parts.append(ragged.starting.attend(q[cut:], k[cut:], v[cut:], keys, values, scaling))
    return torch.cat(parts)[None], None
