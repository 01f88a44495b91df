"""Which tokens of which sequences the next batch holds; pure Python over integers.

Decoding goes first, one token for every sequence under way; what is left of the token budget
goes to prompts, in order of arrival, cut into chunks where they are longer.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from lokal.engine.detokenizer import Detokenizer
from lokal.engine.request import (
    Event,
    FinishEvent,
    FinishReason,
    Matcher,
    Request,
    Sequence,
    TextEvent,
    Timings,
    Usage,
)
from lokal.errors import ContextError, IncompleteError, LokalError, UsageError


class Pieces(Protocol):
    """What the scheduler needs to know of a vocabulary."""

    def piece(self, token: int) -> bytes:
        """The bytes that a token writes."""

    def is_eog(self, token: int) -> bool:
        """Whether a token ends the generation."""


class Chunk(NamedTuple):
    """One sequence's share of a batch: `tokens` at positions `start`, `start + 1`, …"""

    sequence: Sequence
    start: int
    tokens: list[int]
    sample: bool
    """Whether a token is to be sampled after the last one."""


@dataclass
class Plan:
    """The next batch. `released` slots are to be emptied before it."""

    chunks: list[Chunk] = field(default_factory=list)
    released: list[int] = field(default_factory=list)

    @property
    def admitted(self) -> list[Sequence]:
        """Sequences that begin in this batch; their slots are to be made ready before it."""
        return [chunk.sequence for chunk in self.chunks if chunk.start == 0]

    @property
    def n_tokens(self) -> int:
        return sum(len(chunk.tokens) for chunk in self.chunks)


class Scheduler:
    """Admits requests into slots and moves each forward batch by batch.

    Invariant, when idle: every slot is free. `n_ctx` counts tokens per sequence, `n_batch`
    tokens per batch.
    """

    def __init__(self, pieces: Pieces, *, n_slots: int, n_ctx: int, n_batch: int) -> None:
        self._pieces = pieces
        self.n_ctx = n_ctx
        self.n_batch = n_batch
        self._waiting: deque[Request] = deque()
        self._running: list[Sequence] = []
        self._free = list(range(n_slots))
        self._released: list[int] = []

    def check(self, request: Request) -> None:
        """Refuse what cannot be computed.

        Raises:
            UsageError: the prompt is empty.
            ContextError: the prompt leaves no room for a single token of an answer.
        """
        check_length(len(request.tokens), self.n_ctx)

    def add(self, request: Request) -> None:
        """Queue a request.

        Raises:
            UsageError, ContextError: as from `check`.
        """
        self.check(request)
        self._waiting.append(request)

    @property
    def has_work(self) -> bool:
        return bool(self._waiting or self._running)

    def plan(self) -> Plan:
        """The next batch: at most `n_batch` tokens.

        Nothing counts as done before `advance`: a plan that failed is simply made again.
        """
        plan = Plan(released=list(self._released))
        while self._waiting and self._free:
            self._admit(self._waiting.popleft(), self._free.pop(0))
        budget = self.n_batch
        decoding_first = sorted(self._running, key=lambda sequence: sequence.n_pending > 1)
        for sequence in decoding_first:
            if not budget:
                break
            start, end = (
                sequence.n_computed,
                min(sequence.n_computed + budget, len(sequence.tokens)),
            )
            sample = end == len(sequence.tokens)
            plan.chunks.append(Chunk(sequence, start, sequence.tokens[start:end], sample))
            budget -= end - start
        return plan

    def advance(self, plan: Plan, tokens: Iterable[int]) -> list[Event]:
        """Take the tokens sampled for a plan, in the order of its chunks that asked for one."""
        del self._released[: len(plan.released)]
        sampled = iter(tokens)
        events: list[Event] = []
        for chunk in plan.chunks:
            chunk.sequence.n_computed += len(chunk.tokens)
            if chunk.sample:
                events.extend(self._accept(chunk.sequence, next(sampled)))
        return events

    def abort(self, request_id: str) -> list[Event]:
        """Give a request up; text that was held back comes out."""
        for request in self._waiting:
            if request.id == request_id:
                self._waiting.remove(request)
                usage, timings = Usage(len(request.tokens), 0), Timings(prompt=0, generate=0)
                return [FinishEvent(request_id, FinishReason.ABORTED, usage, timings)]
        for sequence in self._running:
            if sequence.request.id == request_id:
                return list(self._finish(sequence, FinishReason.ABORTED))
        return []

    def _admit(self, request: Request, slot: int) -> None:
        detokenizer = Detokenizer(request.params.stop, drop_space=request.drop_space)
        sequence = Sequence(request, slot, detokenizer, list(request.tokens))
        if request.constraint:
            sequence.matcher = request.constraint.matcher()
        if request.reasoning and request.reasoning.opened:
            sequence.reasoning = Detokenizer([request.reasoning.close])
        self._running.append(sequence)

    def _accept(self, sequence: Sequence, token: int) -> Iterator[Event]:
        if sequence.first_token_at is None:
            sequence.first_token_at = time.perf_counter()
        sequence.tokens.append(token)
        params = sequence.request.params
        if self._pieces.is_eog(token) and not params.ignore_eos:
            yield from self._finish(sequence, FinishReason.STOP)
            return
        yield from self._take(sequence, token)
        matcher = sequence.matcher
        if matcher and matcher.error:
            yield from self._finish(sequence, FinishReason.ERROR)
        elif sequence.detokenizer.stopped or (matcher and matcher.ended):
            yield from self._finish(sequence, FinishReason.STOP)
        elif sequence.n_generated == params.max_tokens or len(sequence.tokens) > self.n_ctx:
            yield from self._finish(sequence, FinishReason.LENGTH)

    def _take(self, sequence: Sequence, token: int) -> Iterator[Event]:
        """Text of a token, as reasoning or as a part of the answer."""
        section, request_id = sequence.request.reasoning, sequence.request.id
        if section and sequence.n_generated == 1 and token == section.open_token:
            sequence.reasoning = Detokenizer([section.close])
        elif sequence.reasoning:
            text = sequence.reasoning.push(self._pieces.piece(token))
            if text:
                yield TextEvent(request_id, text, reasoning=True)
            if sequence.reasoning.stopped:
                sequence.reasoning = None
        else:
            if sequence.matcher:
                sequence.matcher.accept(token)
                if sequence.matcher.error:  # this token is no part of any answer
                    return
            text = sequence.detokenizer.push(self._pieces.piece(token))
            if text:
                yield TextEvent(request_id, text)

    def _finish(self, sequence: Sequence, reason: FinishReason) -> Iterator[Event]:
        self._running.remove(sequence)
        self._free.append(sequence.slot)
        if sequence.slot not in self._released:  # where a plan with its successor failed
            self._released.append(sequence.slot)
        if sequence.reasoning:
            text = sequence.reasoning.flush()
            if text:
                yield TextEvent(sequence.request.id, text, reasoning=True)
        text = sequence.detokenizer.flush()
        if text:
            yield TextEvent(sequence.request.id, text)
        error = None
        if sequence.matcher and reason is not FinishReason.ABORTED:
            error = _shortfall(sequence, sequence.matcher, reason)
            reason = FinishReason.ERROR if error else reason
        now = time.perf_counter()
        first = sequence.first_token_at or now
        yield FinishEvent(
            sequence.request.id,
            reason,
            Usage(sequence.n_prompt, sequence.n_generated),
            Timings(prompt=first - sequence.admitted_at, generate=now - first),
            error,
        )


def _shortfall(sequence: Sequence, matcher: Matcher, reason: FinishReason) -> LokalError | None:
    """What keeps an answer that ends here from being what was asked for."""
    if matcher.error or (matcher.complete and not sequence.reasoning):
        return matcher.error
    what = "the answer" if not sequence.reasoning else "the reasoning"
    if reason is FinishReason.LENGTH:
        return IncompleteError(
            f"{what} was cut after {sequence.n_generated} tokens,"
            " before it matched its schema or grammar",
            hint="allow more with -n (max_tokens) and -c (ctx), or bound its texts and lists",
        )
    return IncompleteError(
        f"{what} ended before it matched its schema or grammar",
        hint="a stop text cut it, or the model gave up; another seed may do better",
    )


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
