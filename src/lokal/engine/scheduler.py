"""Which tokens of which sequences the next batch holds; pure Python over integers.

Decoding goes first, one token for every sequence under way; what is left of the token budget
goes to prompts, in order of arrival, cut into chunks where they are longer. When the KV cache is
full the newest sequence gives up its cells and is computed again later.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol

from lokal.engine.plan import Chunk, Plan, Shape
from lokal.engine.prefix import PrefixCache, Remove, common
from lokal.engine.request import (
    Event,
    FinishEvent,
    FinishReason,
    Request,
    TextEvent,
    Timings,
    Usage,
)
from lokal.engine.sequence import Sequence
from lokal.engine.slots import SlotCache
from lokal.errors import ContextError, UsageError


class Pieces(Protocol):
    """What the scheduler needs to know of a vocabulary."""

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes that a token writes, or is named by."""

    def is_eog(self, token: int) -> bool:
        """Whether a token ends the generation."""


class Scheduler:
    """Admits requests into slots and moves each forward batch by batch.

    Invariant, when idle: no slot belongs to a sequence, and every cell is free or kept.
    """

    def __init__(self, pieces: Pieces, shape: Shape) -> None:
        self.shape = shape
        self._pieces = pieces
        self._cache = (
            SlotCache(shape.n_slots, shape.n_ctx, share=shape.share)
            if shape.streams
            else PrefixCache(shape.n_slots, shape.n_cells, share=shape.share)
        )
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._ended: list[Sequence] = []
        self._limit = shape.n_batch
        self.n_sampled = 0
        """Tokens generated so far, of all requests."""

    def check(self, request: Request) -> None:
        """Refuse what cannot be computed.

        Raises:
            UsageError: the prompt is empty.
            ContextError: the prompt leaves no room for a single token of an answer.
        """
        check_length(len(request.tokens), self.shape.n_ctx)

    def add(self, request: Request) -> None:
        """Queue a request.

        Raises:
            UsageError, ContextError: as from `check`.
        """
        self.check(request)
        # The last token of a full context is sampled, and not computed.
        n_most = min(
            len(request.tokens) + (request.params.max_tokens or self.shape.n_ctx),
            self.shape.n_ctx + 1,
        )
        self._waiting.append(Sequence(request, n_most))

    @property
    def has_work(self) -> bool:
        return bool(self._waiting or self._running)

    def plan(self) -> Plan:
        """The next batch: at most `n_batch` tokens, for which there are free cells.

        Nothing counts as computed before `advance`; of a plan that failed, tell `undo`.
        """
        if not self._waiting and self.shape.share:
            while move := self._cache.close_gap():
                moving = next(s for s in self._running if s.slot == move[0])
                moving.slot = move[1]
        plan = Plan(self._cache.edits, self._ended, self._under_way())
        while not self._cache.make_room(plan.n_tokens):
            # The first one is never given up, so that there is always one that comes to its end.
            self._preempt(self._running[-1])
            plan.chunks = self._under_way()
        self._admit(plan)
        if self.shape.streams:
            # llama.cpp computes streams together where their numbers follow one another.
            plan.chunks.sort(key=lambda chunk: chunk.sequence.slot)
        return plan

    def advance(self, plan: Plan, tokens: Iterable[int]) -> list[Event]:
        """Take the tokens sampled for a plan: for each chunk that asked for one, then its twins."""
        sampled = iter(tokens)
        events: list[Event] = []
        for chunk in plan.chunks:
            sequence = chunk.sequence
            self._cache.extend(sequence.slot, chunk.tokens)
            sequence.n_computed += len(chunk.tokens)
            if chunk.sample:
                chosen = [(each, next(sampled)) for each in (sequence, *chunk.twins)]
                # While the slot of the first one has their prompt.
                for twin in chunk.twins:
                    self._waiting.remove(twin)
                    self._running.append(twin)
                    twin.begin(self._cache.fork(sequence.slot), sequence.n_computed)
                self.n_sampled += len(chosen)
                for each, token in chosen:
                    events.extend(self._accept(each, token))
        return events

    def undo(self, plan: Plan) -> None:
        """A plan failed, perhaps half-way: nothing of it may stay in the native cache."""
        for chunk in reversed(plan.chunks):
            if chunk.start and not self.shape.share:
                # A recurrent state cannot be taken back by some tokens.
                self._preempt(chunk.sequence)
            else:
                self._cache.edits.append(Remove(chunk.sequence.slot, chunk.start))

    def shrink(self) -> bool:
        """A plan found no place in the native cache; False if the next can be no smaller."""
        if self._cache.clear():
            return True
        if len(self._running) > 1:
            self._preempt(self._running[-1])
            return True
        self._limit //= 2
        if not self._limit:
            self._limit = self.shape.n_batch
            return False
        return True

    def abort(self, request_id: str) -> list[Event]:
        """Give a request up; text that was held back comes out."""
        for sequence in [*self._waiting, *self._running]:
            if sequence.request.id == request_id:
                return list(self._finish(sequence, FinishReason.ABORTED))
        return []

    def held(self) -> list[int]:
        """What the KV cache of one conversation holds, if nothing is under way."""
        return self._cache.held()

    def check_integrity(self) -> None:
        """Raises: AssertionError: the books of slots and cells do not balance."""
        self._cache.check_integrity({s.slot: s.tokens[: s.n_computed] for s in self._running})

    def _under_way(self) -> list[Chunk]:
        """What the sequences that have begun need next, as far as the budget goes."""
        chunks, budget = [], self._limit
        for sequence in sorted(self._running, key=lambda sequence: sequence.n_pending > 1):
            if not budget:
                break
            chunks.append(_chunk(sequence, budget))
            budget -= len(chunks[-1].tokens)
        return chunks

    def _admit(self, plan: Plan) -> None:
        """Let requests begin, where there is a slot, budget and room for them."""
        budget, n_twins = self._limit - plan.n_tokens, 0
        for sequence in list(self._waiting):
            if len(self._running) + n_twins == self.shape.n_parallel:
                break
            if self._joins(sequence, plan):
                n_twins += 1
                continue
            if budget <= 0:  # a twin needs none
                continue
            found = self._cache.match(sequence.tokens)
            if self._is_on_its_way(sequence, found.n_tokens):
                continue
            # Room for all of it, then a token for everybody: else somebody is preempted at once.
            needed = len(sequence.tokens) - found.n_tokens + plan.n_tokens + len(self._running) + 1
            if self._running and needed > found.n_room:
                break
            self._waiting.remove(sequence)
            self._running.append(sequence)
            sequence.begin(*self._cache.take(sequence.tokens))
            plan.chunks.append(_chunk(sequence, budget))
            budget -= len(plan.chunks[-1].tokens)
            self._cache.make_room(plan.n_tokens)

    def _joins(self, sequence: Sequence, plan: Plan) -> bool:
        """Let a sequence become a twin, if a prompt that is like its own ends in this plan."""
        for place, chunk in enumerate(plan.chunks):
            if self.shape.share and chunk.sample and chunk.sequence.begins_like(sequence):
                plan.chunks[place] = chunk._replace(twins=(*chunk.twins, sequence))
                return True
        return False

    def _is_on_its_way(self, sequence: Sequence, n_here: int) -> bool:
        """Whether somebody computes right now more of a prompt than what is here."""
        tokens, limit = sequence.tokens, len(sequence.tokens) - 1
        return self.shape.share and any(
            other.tokens[n_here] == tokens[n_here]
            and min(common(tokens, other.tokens), limit) >= max(n_here + 1, self._cache.least)
            for other in self._running
            if other.n_pending > 1 and len(other.tokens) > n_here
        )

    def _preempt(self, sequence: Sequence) -> None:
        """Take a sequence's cells from it; it is computed again when there is room."""
        self._cache.drop(sequence.slot)
        self._running.remove(sequence)
        sequence.n_computed = 0
        self._waiting.appendleft(sequence)

    def _accept(self, sequence: Sequence, token: int) -> Iterator[Event]:
        ends = self._pieces.is_eog(token) and not sequence.request.params.ignore_eos
        piece = b"" if ends else self._pieces.piece(token)
        name = b"" if piece or ends else self._pieces.piece(token, special=True)
        for text, reasoning in sequence.push(token, piece, name, ends=ends):
            yield TextEvent(sequence.request.id, text, reasoning)
        if ends or sequence.answered:
            yield from self._finish(sequence, FinishReason.STOP)
        elif sequence.full:
            yield from self._finish(sequence, FinishReason.LENGTH)

    def _finish(self, sequence: Sequence, reason: FinishReason) -> Iterator[Event]:
        if sequence in self._running:
            self._running.remove(sequence)
            self._cache.keep(sequence.slot, (waiting.tokens for waiting in self._waiting))
        else:
            self._waiting.remove(sequence)
        self._ended.append(sequence)
        self._limit = self.shape.n_batch
        for text, reasoning in sequence.flush():
            yield TextEvent(sequence.request.id, text, reasoning)
        error = None if reason is FinishReason.ABORTED else sequence.failure(reason)
        now = time.perf_counter()
        begun = sequence.begun_at or now
        first = sequence.first_token_at or now
        yield FinishEvent(
            sequence.request.id,
            FinishReason.ERROR if error else reason,
            Usage(sequence.n_prompt, sequence.n_generated, sequence.n_cached),
            Timings(prompt=first - begun, generate=now - first),
            error,
            None if sequence.logprobs is None else tuple(sequence.logprobs),
        )


def _chunk(sequence: Sequence, budget: int) -> Chunk:
    """The next tokens of a sequence, at most `budget`."""
    start, n_tokens = sequence.n_computed, len(sequence.tokens)
    end = min(start + budget, n_tokens)
    return Chunk(sequence, start, sequence.tokens[start:end], sample=end == n_tokens)


def check_length(n_prompt: int, n_ctx: int) -> None:
    """Whether a prompt of so many tokens leaves room for an answer.

    Raises:
        UsageError: it is empty.
        ContextError: it leaves no room for a single token.
    """
    if not n_prompt:
        raise UsageError("the prompt has no tokens", hint="give it some text")
    if n_prompt >= n_ctx:
        raise ContextError(
            f"the prompt has {n_prompt} tokens, the context holds {n_ctx}",
            hint="shorten the prompt, raise the context with -c, or allow --truncate",
        )
