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


class KeyValueCache:
    """Keys and values of all running rows: per layer (rows, kv_heads, length, head_dim). Rows are kept without holes.

    Grows with the longest row and with the number of rows; a removed row's place is taken by the last row.
    """

    def __init__(self, layers: int, kv_heads: int, head_dim: int, dtype: torch.dtype, device: torch.device) -> None:
        self._shape = (kv_heads, head_dim)
        self._options = {"dtype": dtype, "device": device}
        self.keys = [torch.empty(0, kv_heads, 0, head_dim, dtype=dtype, device=device) for _ in range(layers)]
        self.values = [torch.empty(0, kv_heads, 0, head_dim, dtype=dtype, device=device) for _ in range(layers)]

    @torch.inference_mode()
    def reserve(self, rows: int, length: int) -> None:
        """Makes room for `rows` rows of `length` tokens, keeping what is there."""
        have_rows, _, have_length, _ = self.keys[0].shape
        if rows <= have_rows and length <= have_length:
            return
        rows = max(rows, have_rows)
        length = have_length if length <= have_length else -(-length // _GROWTH) * _GROWTH
        for store in (self.keys, self.values):
            for layer, old in enumerate(store):
                new = torch.zeros(rows, self._shape[0], length, self._shape[1], dtype=old.dtype, device=old.device)
                new[:have_rows, :, :have_length] = old
                store[layer] = new

    @torch.inference_mode()
    def move(self, source: int, target: int, length: int) -> None:
        """Copies the first `length` tokens of row `source` over row `target`."""
        for store in (self.keys, self.values):
            for tensor in store:
                tensor[target, :, :length] = tensor[source, :, :length]


@dataclass(frozen=True)
class RaggedPass:
    """One forward pass: `decoding` rows with one new token each, then rows that start with a whole prompt.

    Args:
        cache: cache rows 0 … decoding-1 decode, rows decoding … decoding+len(starting)-1 start.
        lengths: tokens that each decoding row has cached already, (decoding,).
        starting: prompt length of every starting row, in tokens.
    """

    cache: KeyValueCache
    lengths: torch.Tensor
    starting: tuple[int, ...]
    mask: torch.Tensor | None
    gather: torch.Tensor | None
    scatter: torch.Tensor | None

    @classmethod
    def plan(cls, cache: KeyValueCache, lengths: Sequence[int], starting: Sequence[int]) -> RaggedPass:
        """Reserves cache room and precomputes what all layers share."""
        decoding = len(lengths)
        longest = max([*(length + 1 for length in lengths), *starting])
        cache.reserve(decoding + len(starting), longest)
        held = torch.tensor(lengths, dtype=torch.long)
        mask = gather = scatter = None
        if decoding:
            span = torch.arange(max(lengths) + 1)
            mask = (span[None] <= held[:, None])[:, None, None]  # (decoding, 1, 1, span)
        if starting:
            sizes = torch.tensor(starting)
            offsets = decoding + torch.cumsum(sizes, 0) - sizes
            span = torch.arange(max(starting))
            inside = span[None] < sizes[:, None]
            gather = torch.where(inside, offsets[:, None] + span[None], 0)  # padded (starting, longest) ← packed
            scatter = inside.flatten().nonzero().flatten()  # packed ← padded
        return cls(cache, held, tuple(starting), mask, gather, scatter)

    @property
    def decoding(self) -> int:
        return len(self.lengths)

    def positions(self) -> torch.Tensor:
        """Position ids of the packed tokens, (1, tokens)."""
        return torch.cat([self.lengths, *(torch.arange(size) for size in self.starting)])[None]

    def last_tokens(self) -> torch.Tensor:
        """Index of every row's last token in the packed sequence, (rows,)."""
        ends = self.decoding + torch.cumsum(torch.tensor(self.starting, dtype=torch.long), 0) - 1
        return torch.cat([torch.arange(self.decoding), ends])


def ragged_attention(
    module: torch.nn.Module,
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
    layer: int = module.layer_idx  # type: ignore[assignment]
    keys, values = ragged.cache.keys[layer], ragged.cache.values[layer]
    out = query.new_empty(query.shape[2], query.shape[1], query.shape[3])
    if ragged.decoding:
        out[: ragged.decoding] = _decode(query, key, value, keys, values, scaling, ragged)
    if ragged.starting:
        out[ragged.decoding :] = _start(query, key, value, keys, values, scaling, ragged)
    return out[None], None


def _decode(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scaling: float,
    ragged: RaggedPass,
) -> torch.Tensor:
    """(decoding, heads, head_dim): one query per row over the row's cache."""
    rows, (heads, head_dim), kv_heads = ragged.decoding, query.shape[1::2], key.shape[1]
    assert ragged.mask is not None
    index = torch.arange(rows)
    keys[index, :, ragged.lengths] = key[0, :, :rows].transpose(0, 1)
    values[index, :, ragged.lengths] = value[0, :, :rows].transpose(0, 1)
    span = ragged.mask.shape[-1]
    # Queries that share a key head stand as its query positions: grouped-query attention without repeating keys.
    grouped = query[0, :, :rows].transpose(0, 1).reshape(rows, kv_heads, heads // kv_heads, head_dim)
    out = functional.scaled_dot_product_attention(
        grouped, keys[:rows, :, :span], values[:rows, :, :span], attn_mask=ragged.mask, scale=scaling
    )
    return out.reshape(rows, heads, head_dim)


def _start(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scaling: float,
    ragged: RaggedPass,
) -> torch.Tensor:
    """(prompt tokens, heads, head_dim): whole prompts, padded on the right, where causal order hides the padding."""
    heads, head_dim, kv_heads = query.shape[1], query.shape[3], key.shape[1]
    assert ragged.gather is not None
    assert ragged.scatter is not None
    rows = slice(ragged.decoding, ragged.decoding + len(ragged.starting))
    padded_keys, padded_values, padded_queries = (
        tensor[0].transpose(0, 1)[ragged.gather].transpose(1, 2) for tensor in (key, value, query)
    )
    longest = padded_keys.shape[2]
    keys[rows, :, :longest] = padded_keys
    values[rows, :, :longest] = padded_values
    repeat = heads // kv_heads
    out = functional.scaled_dot_product_attention(
        padded_queries,
        padded_keys.repeat_interleave(repeat, 1),
        padded_values.repeat_interleave(repeat, 1),
        is_causal=True,
        scale=scaling,
    )
    return out.transpose(1, 2).reshape(-1, heads, head_dim)[ragged.scatter]
