"""A vocabulary and a native side made of Python, strict about what llama.cpp is strict about."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from lokal.engine.engine import Engine
from lokal.engine.plan import NoSlotError, Plan, Shape
from lokal.engine.prefix import Copy, Remove
from lokal.engine.request import Event, FinishEvent, Request, SamplingParams, TextEvent
from lokal.engine.scheduler import Scheduler

EOG = 256
_LETTERS = [*b"abc", EOG]


class Bytes:
    """A vocabulary of the 256 bytes, a token that ends the generation, and the names given."""

    def __init__(self, *names: str) -> None:
        self.names = names
        """Of control tokens, the first of which follows the one that ends the generation."""

    def piece(self, token: int, *, special: bool = False) -> bytes:
        if token > EOG:
            return self.names[token - EOG - 1].encode() if special else b""
        return b"" if token == EOG else bytes([token])

    def is_eog(self, token: int) -> bool:
        return token == EOG


def next_token(request: Request, position: int) -> int:
    """What the fake model says at a position: the script if the id is one, else by the seed."""
    if request.id.startswith("say:"):
        said = request.id.removeprefix("say:").encode()
        index = position - len(request.tokens)
        return said[index] if index < len(said) else EOG
    return random.Random(request.seed * 1009 + position).choice(_LETTERS)


class Cell:
    """A cell of the KV cache; slots that share a prefix hold the same ones."""

    def __init__(self, token: int) -> None:
        self.token = token


class FakeBackend:
    """Keeps the KV cache as lists of cells; `failures` are raised by the next decodes."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.cache: list[list[Cell]] = [[] for _ in range(shape.n_slots)]
        self.emptied: list[int] = []
        self.ended: list[str] = []
        self.computed: list[int] = []
        """Every token that was computed, again if it was computed again."""
        self.failures: list[BaseException | None] = []

    @property
    def n_cells(self) -> int:
        return len({id(cell) for cells in self.cache for cell in cells})

    def decode(self, plan: Plan) -> list[int]:
        failure = self.failures.pop(0) if self.failures else None
        if failure and getattr(failure, "early", False):
            raise failure
        while plan.ended:
            self.ended.append(plan.ended.pop().request.id)
        while plan.edits:
            self._edit(plan.edits.pop(0))
        if isinstance(failure, NoSlotError):
            raise failure
        assert 0 < plan.n_tokens <= self.shape.n_batch
        tokens = []
        for chunk in plan.chunks:
            cells, sequence = self.cache[chunk.sequence.slot], chunk.sequence
            assert chunk.tokens
            assert [cell.token for cell in cells] == sequence.tokens[: chunk.start]
            cells += map(Cell, chunk.tokens)
            if failure:  # half of the batch was computed
                raise failure
            self.computed += chunk.tokens
            assert len(cells) <= self.shape.n_ctx
            if chunk.sample:
                tokens += [
                    next_token(each.request, len(cells)) for each in (sequence, *chunk.twins)
                ]
        assert self.n_cells <= self.shape.n_cells
        slots = [chunk.sequence.slot for chunk in plan.chunks]
        assert len(set(slots)) == len(slots) <= self.shape.n_parallel
        return tokens

    def _edit(self, edit: Copy | Remove) -> None:
        if isinstance(edit, Copy):
            assert self.shape.share
            assert not self.cache[edit.target]
            assert len(self.cache[edit.source]) >= edit.n_tokens
            self.cache[edit.target] = self.cache[edit.source][: edit.n_tokens]
        else:
            assert self.shape.share or not edit.start
            del self.cache[edit.slot][edit.start :]
            if not edit.start:
                self.emptied.append(edit.slot)


def shape(
    n_parallel: int = 1,
    n_ctx: int = 64,
    n_batch: int = 8,
    *,
    n_cells: int = 0,
    n_spare: int = 0,
    share: bool = False,
    streams: bool = False,
) -> Shape:
    n_cells = n_cells or n_parallel * n_ctx
    return Shape(n_parallel, n_parallel + n_spare, n_ctx, n_cells, n_batch, share, streams)


def engine(n_slots: int = 1, n_ctx: int = 64, n_batch: int = 8) -> tuple[Engine, FakeBackend]:
    return engine_of(shape(n_slots, n_ctx, n_batch))


def engine_of(shape: Shape, *names: str) -> tuple[Engine, FakeBackend]:
    backend = FakeBackend(shape)
    return Engine(backend, Scheduler(Bytes(*names), shape)), backend


def request(id: str = "", *, n_prompt: int = 3, seed: int = 1, **params: Any) -> Request:  # noqa: A002
    return Request(tuple(range(n_prompt)), SamplingParams(**params), seed, id)


def say(text: str, **params: Any) -> Request:
    """A request that the fake model answers with these words."""
    return request(f"say:{text}", **params)


def text_of(events: Iterable[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextEvent))


def finish_of(events: list[Event]) -> FinishEvent:
    """The one final event, which must be the last."""
    assert [isinstance(event, FinishEvent) for event in events] == [False] * (len(events) - 1) + [
        True
    ]
    last = events[-1]
    assert isinstance(last, FinishEvent)
    return last
