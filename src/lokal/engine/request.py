"""What is asked of the engine, and what comes back.

Records are named tuples wherever nothing more is needed, here and elsewhere: Python 3.11 takes
0.1 ms to define one and 0.7 ms for a frozen dataclass, and a start defines dozens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from lokal.engine.reasoning import Reasoning
from lokal.errors import LokalError, UsageError

MAX_TOKENS = 2**31 - 1
MAX_BIAS = 10**6  # far more than any two logits differ by, and no infinity in 32 bits
MAX_LOGPROBS = 100  # tokens; nobody reads more, and each is a line of JSON for each token
MAX_SEED = 2**32 - 2  # 2**32 - 1 tells llama.cpp to choose a seed of its own


@dataclass(frozen=True)
class SamplingParams:
    """How the next token is chosen and when to stop; the defaults are llama.cpp's own.

    Raises:
        UsageError: a value is outside its range.
    """

    temperature: float = 0.8
    """Divides the logits; 0, or less than a millionth, always takes the most likely token."""
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
    reasoning_budget: int | None = None
    """Most tokens of reasoning before it is closed; None lets the model close it."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Added to the logits of these tokens; -inf forbids one."""
    logprobs: int | None = None
    """Log probabilities of each token and of this many of the likeliest; None computes none."""

    def __post_init__(self) -> None:
        _check("temperature", self.temperature, 0, 100)
        _check("top_k", self.top_k, 0, MAX_TOKENS, whole=True)
        _check("top_p", self.top_p, 0, 1)
        _check("min_p", self.min_p, 0, 1)
        _check("repeat_penalty", self.repeat_penalty, 0.01, 100)
        if self.max_tokens is not None:
            _check("max_tokens", self.max_tokens, 1, MAX_TOKENS, whole=True)
        texts = isinstance(self.stop, tuple) and all(isinstance(text, str) for text in self.stop)
        if not texts or not all(self.stop):
            raise UsageError(f"stop is {self.stop!r}", hint="give texts, none of them empty")
        if not isinstance(self.ignore_eos, bool):
            raise UsageError(f"ignore_eos is {self.ignore_eos!r}", hint="give True or False")
        if self.reasoning_budget is not None:
            _check("reasoning_budget", self.reasoning_budget, 0, MAX_TOKENS, whole=True)
        _check_bias(self.logit_bias)
        if self.logprobs is not None:
            _check("logprobs", self.logprobs, 0, MAX_LOGPROBS, whole=True)


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


def _check_bias(pairs: object) -> None:
    hint = "give a tuple of pairs: a token's number and what is added to its logit"
    if not isinstance(pairs, tuple):
        raise UsageError(f"logit_bias is {pairs!r:.50}", hint=hint)
    seen: set[int] = set()
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise UsageError(f"logit_bias holds {pair!r:.50}", hint=hint)
        token, bias = pair
        _check("a token of logit_bias", token, 0, 2**31 - 1, whole=True)
        if token in seen:
            raise UsageError(f"two logit biases for token {token}", hint="give one")
        seen.add(token)
        if bias != -math.inf:
            _check(f"the logit bias of token {token}", bias, -MAX_BIAS, MAX_BIAS)


class Matcher(Protocol):
    """Follows one answer through its constraint."""

    def mask(self, logits: int, keep: int | None = None) -> None:
        """Forbid in a row of float32 logits, at this address, every token that may not follow.

        The token `keep` stays allowed.
        """

    def accept(self, token: int) -> None:
        """Take the token that was chosen; end-of-generation tokens are not shown to it."""

    def accept_bytes(self, data: bytes) -> None:
        """Take what the answer begins with where no token of its own begins it."""

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
    """How it is told from the answer; the constraint is about the answer only."""


class FinishReason(StrEnum):
    STOP = "stop"
    """The model ended by itself, or wrote a stop text."""
    LENGTH = "length"
    """The token limit or the end of the context was reached."""
    ABORTED = "aborted"
    """Whoever asked no longer wants it."""
    ERROR = "error"
    """It cannot become what was asked for; the event says why."""


class TokenLogprob(NamedTuple):
    """A token and its log probability, in the model's own distribution; `top` are the likeliest.

    `data` is what it writes, and `token` that as text; of a control token its name.
    """

    token: str
    id: int
    logprob: float
    data: bytes
    top: tuple[TokenLogprob, ...] = ()


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
    logprobs: tuple[TokenLogprob, ...] | None = None
    """Of every token that was sampled but the model's end, so of none that was put in to close
    reasoning; None where nobody asked for them."""


Event = TextEvent | FinishEvent
