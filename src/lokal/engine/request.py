"""What is asked of the engine, what is under way, and what comes back.

Records are named tuples wherever nothing more is needed, here and elsewhere: Python 3.11 takes
0.1 ms to define one and 0.7 ms for a frozen dataclass, and a start defines dozens.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from lokal.engine.detokenizer import Detokenizer
from lokal.errors import LokalError, UsageError

MAX_SEED = 2**32 - 2  # 2**32 - 1 tells llama.cpp to choose a seed of its own


@dataclass(frozen=True)
class SamplingParams:
    """How the next token is chosen and when to stop; the defaults are llama.cpp's own.

    Raises:
        UsageError: a value is outside its range.
    """

    temperature: float = 0.8
    """Divides the logits; 0 always takes the most likely token."""
    top_k: int = 40
    """Keep the k most likely tokens; 0 keeps all."""
    top_p: float = 0.95
    """Keep the smallest set of tokens with this total probability; 1 keeps all."""
    min_p: float = 0.05
    """Drop tokens below this share of the most likely token's probability; 0 drops none."""
    repeat_penalty: float = 1.0
    """Weakens tokens among the last 64; 1 leaves them alone."""
    max_tokens: int | None = None
    """Most tokens to generate; None goes on to the end of the context."""
    stop: tuple[str, ...] = ()
    """Texts that end the answer; none of them becomes part of it."""
    ignore_eos: bool = False
    """Never end at the model's own end-of-generation tokens."""

    def __post_init__(self) -> None:
        _check("temperature", self.temperature, 0, 100)
        _check("top_k", self.top_k, 0, 2**31 - 1, whole=True)
        _check("top_p", self.top_p, 0, 1)
        _check("min_p", self.min_p, 0, 1)
        _check("repeat_penalty", self.repeat_penalty, 0.01, 100)
        if self.max_tokens is not None:
            _check("max_tokens", self.max_tokens, 1, 2**31 - 1, whole=True)
        texts = isinstance(self.stop, tuple) and all(isinstance(text, str) for text in self.stop)
        if not texts or not all(self.stop):
            raise UsageError(f"stop is {self.stop!r}", hint="give a tuple of texts, none empty")
        if not isinstance(self.ignore_eos, bool):
            raise UsageError(f"ignore_eos is {self.ignore_eos!r}", hint="give True or False")


def check_seed(seed: int) -> None:
    """Raises: UsageError: llama.cpp cannot take this seed."""
    _check("seed", seed, 0, MAX_SEED, whole=True)


def _check(name: str, value: object, low: float, high: float, *, whole: bool = False) -> None:
    kind = "whole number" if whole else "number"
    # True is an int to Python, and a mistake here.
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise UsageError(f"{name} is {value!r}", hint=f"give a {kind}")
    if not (math.isfinite(value) and low <= value <= high):
        raise UsageError(f"{name} is {value}", hint=f"it must lie between {low} and {high}")


class Matcher(Protocol):
    """Follows one answer through its constraint."""

    def mask(self, logits: int, keep: int | None = None) -> None:
        """Forbid in a row of float32 logits, at this address, every token that may not follow.

        The token `keep` stays allowed.
        """

    def accept(self, token: int) -> None:
        """Take the token that was chosen; end-of-generation tokens are not shown to it."""

    @property
    def complete(self) -> bool:
        """Whether the answer may end here."""

    @property
    def ended(self) -> bool:
        """Whether nothing may follow."""

    @property
    def error(self) -> LokalError | None:
        """Why it cannot go on, if so; it then masks nothing any more."""


class Constraint(Protocol):
    """A grammar that answers must match, compiled for one vocabulary."""

    def matcher(self) -> Matcher:
        """A new one, at the beginning of an answer."""


class Reasoning(NamedTuple):
    """How reasoning is told from the answer: it goes on until the model wrote `close`.

    `opened` says that the prompt began it already; else the model does so by beginning its
    answer with the token `open_token`, or does not.
    """

    close: str
    opened: bool
    open_token: int | None = None


class Request(NamedTuple):
    """One completion asked for: the prompt as token ids, and how to go on from there."""

    tokens: tuple[int, ...]
    params: SamplingParams
    seed: int
    id: str = ""
    drop_space: bool = False
    """Leave out one space at the beginning of the answer."""
    constraint: Constraint | None = None
    reasoning: Reasoning | None = None
    """The constraint holds after it."""


class FinishReason(StrEnum):
    STOP = "stop"
    """The model ended by itself, or wrote a stop text."""
    LENGTH = "length"
    """The token limit or the end of the context was reached."""
    ABORTED = "aborted"
    """Whoever asked no longer wants it."""
    ERROR = "error"
    """It cannot become what was asked for; the event says why."""


@dataclass(eq=False)
class Sequence:
    """A request under way: the only mutable state there is per sequence.

    `tokens` is prompt and generated tokens together; the first `n_computed` of them are in the
    KV cache of `slot`.
    """

    request: Request
    slot: int
    detokenizer: Detokenizer
    tokens: list[int]
    n_computed: int = 0
    admitted_at: float = field(default_factory=time.perf_counter)
    first_token_at: float | None = None
    matcher: Matcher | None = None
    reasoning: Detokenizer | None = None
    """Takes the text while the model still reasons; nothing is constrained then."""

    @property
    def n_prompt(self) -> int:
        return len(self.request.tokens)

    @property
    def n_generated(self) -> int:
        return len(self.tokens) - self.n_prompt

    @property
    def n_pending(self) -> int:
        """Tokens that are known but not yet in the KV cache."""
        return len(self.tokens) - self.n_computed


class Usage(NamedTuple):
    """Tokens read and written; `cached_tokens` of the prompt were in the KV cache already."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


class Timings(NamedTuple):
    """Seconds spent on the prompt, up to the first token, and on the tokens after it."""

    prompt: float
    generate: float


class TextEvent(NamedTuple):
    """A piece of the answer; bytes that are no UTF-8 stand in it as lone surrogates (PEP 383)."""

    request_id: str
    text: str
    reasoning: bool = False


class FinishEvent(NamedTuple):
    """The last event of a request."""

    request_id: str
    reason: FinishReason
    usage: Usage
    timings: Timings
    error: LokalError | None = None


Event = TextEvent | FinishEvent
