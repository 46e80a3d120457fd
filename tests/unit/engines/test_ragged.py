"""Attention over a ragged batch is each row's own causal attention."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from serving.engines.ragged import KeyValueCache, RaggedPass, ragged_attention

HEADS, KV_HEADS, DIM = 4, 2, 8
LAYER = SimpleNamespace(layer_idx=0)


class Row:
    """A row's queries, keys and values so far, (tokens, heads, dim)."""

    def __init__(self, random: torch.Generator, tokens: int) -> None:
        self.random = random
        self.q = torch.randn(tokens, HEADS, DIM, generator=random)
        self.k = torch.randn(tokens, KV_HEADS, DIM, generator=random)
        self.v = torch.randn(tokens, KV_HEADS, DIM, generator=random)

    def grow(self) -> None:
        more = Row(self.random, 1)
        self.q, self.k, self.v = (torch.cat(p) for p in ((self.q, more.q), (self.k, more.k), (self.v, more.v)))

    def expected(self) -> torch.Tensor:
        """(tokens, heads, dim), by the textbook."""
        q, k, v = (part.transpose(0, 1) for part in (self.q, self.k, self.v))
        k, v = (part.repeat_interleave(HEADS // KV_HEADS, 0) for part in (k, v))
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3).transpose(0, 1)


def attend(cache: KeyValueCache, decoding: list[Row], starting: list[Row]) -> list[torch.Tensor]:
    """One pass; the outputs of every row's new tokens."""
    lengths = [len(row.q) - 1 for row in decoding]
    ragged = RaggedPass.plan(cache, lengths, [len(row.q) for row in starting])
    q, k, v = (
        torch.cat([*(getattr(row, part)[-1:] for row in decoding), *(getattr(row, part) for row in starting)])
        .transpose(0, 1)
        .unsqueeze(0)
        for part in "qkv"
    )
    out, _ = ragged_attention(LAYER, q, k, v, None, scaling=0.3, ragged=ragged)
    assert ragged.positions.tolist()[0] == lengths + [at for row in starting for at in range(len(row.q))]
    return list(out[0].split([1] * len(decoding) + [len(row.q) for row in starting]))


@settings(max_examples=40, deadline=None)
@given(
    first=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    later=st.lists(st.integers(1, 90), max_size=3),
    steps=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_rows_that_decode_and_rows_that_start_do_not_see_each_other(
    first: list[int], later: list[int], steps: int, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    cache = KeyValueCache(1, KV_HEADS, DIM, torch.float32, torch.device("cpu"))
    running = [Row(random, tokens) for tokens in first]
    for row, out in zip(running, attend(cache, [], running), strict=True):
        torch.testing.assert_close(out, row.expected(), atol=1e-5, rtol=1e-4)
    for step in range(steps):
        joining = [Row(random, tokens) for tokens in later] if step == 0 else []
        for row in running:
            row.grow()
        outs = attend(cache, running, joining)
        for row, out in zip([*running, *joining], outs, strict=True):
            torch.testing.assert_close(out, row.expected()[-len(out) :], atol=1e-5, rtol=1e-4)
        running = [*running, *joining]


def test_a_row_can_move_in_the_cache() -> None:
    random = torch.Generator().manual_seed(0)
    cache = KeyValueCache(1, KV_HEADS, DIM, torch.float32, torch.device("cpu"))
    short, long = Row(random, 3), Row(random, 70)
    attend(cache, [], [short, long])
    cache.move(1, 0, 70)
    long.grow()
    (out,) = attend(cache, [long], [])
    torch.testing.assert_close(out, long.expected()[-1:], atol=1e-5, rtol=1e-4)
