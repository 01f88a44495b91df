"""The next batch, and the room there is for it: what scheduler and backend say to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from lokal.engine.prefix import Copy, Remove
from lokal.engine.sequence import Sequence
from lokal.errors import SpaceError


class NoSlotError(SpaceError):
    """A batch found no place in the native KV cache; a smaller one may."""


class Shape(NamedTuple):
    """How many sequences run side by side, and in what room.

    A KV cache of `n_cells` tokens is held by `n_slots` sequence ids; `n_parallel` of them may be
    under way, the others keep prefixes. A sequence has at most `n_ctx` tokens, so that each would
    fit alone, a batch at most `n_batch`. With `streams` each slot has `n_ctx` cells of its own and
    there are no spare ones, else all share one cache. `share` says whether prefixes are shared:
    the model must be one of plain attention then. `flash` is flash attention: on, off, or auto,
    which leaves it to llama.cpp. The types are ggml's names for the numbers in the cache.
    """

    n_parallel: int
    n_slots: int
    n_ctx: int
    n_cells: int
    n_batch: int
    share: bool = False
    streams: bool = False
    flash: str = "auto"
    key_type: str = "f16"
    value_type: str = "f16"


class Chunk(NamedTuple):
    """One sequence's share of a batch: `tokens` at positions `start`, `start + 1`, …"""

    sequence: Sequence
    start: int
    tokens: list[int]
    sample: bool
    """Whether a token is to be sampled after the last one."""
    twins: tuple[Sequence, ...] = ()
    """Waiting sequences with the same prompt, which it completes: a token is sampled for each."""


@dataclass
class Plan:
    """The next batch, and what is to be done before it.

    `edits` of the KV cache come first, in order; `ended` sequences need no sampler any more. Both
    are the scheduler's own lists: whoever has done what they say takes it off, so that it is done
    even if the batch fails. Doing it twice does no harm.
    """

    edits: list[Copy | Remove]
    ended: list[Sequence]
    chunks: list[Chunk] = field(default_factory=list)

    @property
    def n_tokens(self) -> int:
        return sum(len(chunk.tokens) for chunk in self.chunks)
