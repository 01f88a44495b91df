"""What is asked of the engine, what is under way, and what comes back.

Records are named tuples wherever nothing more is needed, here and elsewhere: Python 3.11 takes
0.1 ms to define one and 0.7 ms for a frozen dataclass, and a start defines dozens.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from lokal.engine.answer_text import AnswerText, Part
from lokal.engine.reasoning import Reasoning
from lokal.errors import IncompleteError, LokalError, UsageError

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
            raise UsageError(f"stop is {self.stop!r}", hint="give a tuple of texts, none empty")
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


@dataclass(eq=False)
class Sequence:
    """A request under way: the only mutable state there is per sequence.

    `tokens` is prompt and generated tokens together; the first `n_computed` of them are in the
    KV cache of `slot`, once it has one. `n_cached` of the prompt were there when it began. There
    may be `n_most` tokens in all.
    """

    request: Request
    n_most: int = MAX_TOKENS
    slot: int = -1
    n_computed: int = 0
    n_cached: int = 0
    begun_at: float | None = None
    first_token_at: float | None = None

    def __post_init__(self) -> None:
        request = self.request
        self.tokens = list(request.tokens)
        self._text = AnswerText(
            request.params.stop, drop_space=request.drop_space, reasoning=request.reasoning
        )
        self._n_reasoned = 0
        self._matcher = request.constraint.matcher() if request.constraint else None
        self.logprobs: list[TokenLogprob] | None = (
            [] if request.params.logprobs is not None else None
        )
        self.likelihood: TokenLogprob | None = None
        """Of the token that was sampled last."""
        self.stuck: LokalError | None = None
        """Why no token could be sampled, if so."""
        if self._matcher and self._open_token is None:
            self._text.answer()
        self._close_in_time()

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

    @property
    def full(self) -> bool:
        """Whether no token may follow, whatever it says."""
        return len(self.tokens) >= self.n_most

    @property
    def answered(self) -> bool:
        """Whether nothing may follow: a stop text was met, or the constraint has its end."""
        matcher = self._matcher
        if self.stuck or self._text.over:
            return True
        return bool(matcher and (matcher.ended or matcher.error))

    def failure(self, reason: FinishReason) -> LokalError | None:
        """What keeps an answer that ends now, for this reason, from being what was asked for."""
        matcher, answering = self._matcher, self._text.answering
        if self.stuck:
            return self.stuck
        if matcher is None or (matcher.complete and answering and not self._text.over):
            return None
        if matcher.error:
            return matcher.error
        what = "the answer" if answering else "the reasoning"
        if reason is FinishReason.LENGTH:
            return IncompleteError(
                f"{what} was cut after {self.n_generated} tokens,"
                " before it matched its schema or grammar",
                hint="allow more with -n (max_tokens) and -c (ctx), or bound its texts and lists",
            )
        return IncompleteError(
            f"{what} ended before it matched its schema or grammar",
            hint="a stop text cut it, or the model gave up; another seed may do better",
        )

    def begin(self, slot: int, n_cached: int) -> None:
        """Go on in a slot that holds so many of the tokens already."""
        if self.begun_at is None:
            self.begun_at, self.n_cached = time.perf_counter(), min(n_cached, self.n_prompt)
        self.slot, self.n_computed = slot, n_cached

    def begins_like(self, other: Sequence) -> bool:
        """Whether both have nothing but the same prompt, and the same may follow it."""
        request, like = self.request, other.request
        return (
            not (self.n_generated or other.n_generated)
            and request.constraint is like.constraint
            and request.reasoning == like.reasoning
            and request.tokens == like.tokens
        )

    @property
    def constrained(self) -> bool:
        """Whether the next token is to be chosen with `mask`."""
        text = self._text
        return self._matcher is not None and (text.answering or text.undecided)

    def mask(self, logits: int) -> None:
        """Forbid, in the row of logits at this address, what may not be the next token."""
        if self._matcher is not None:
            self._matcher.mask(logits, self._open_token)

    def push(self, token: int, piece: bytes, name: bytes = b"", *, ends: bool) -> list[Part]:
        """Take a token that was sampled; returns its text.

        `name` is that of a control token, which writes nothing. `ends` says that it is no text but
        the model's end of the answer.
        """
        if self.first_token_at is None:
            self.first_token_at = time.perf_counter()
        self.tokens.append(token)
        if self.stuck:  # the token means nothing
            return []
        if self.logprobs is not None and self.likelihood and not ends:
            self.logprobs.append(self.likelihood)
        text, matcher = self._text, self._matcher
        if matcher and text.undecided and token != self._open_token:
            text.answer()
        self._n_reasoned += text.reasoning
        answering = text.answering
        if matcher and answering and not ends:
            matcher.accept(token)
            if matcher.error:  # this token is no part of any answer
                return []
        parts = text.push(piece, name)
        if matcher and text.answering and not answering:
            text.answer()
            matcher.accept_bytes(text.beginning)
        return parts if ends else parts + self._close_in_time()

    def flush(self) -> list[Part]:
        """The text that was held back at the end."""
        return self._text.flush()

    @property
    def _open_token(self) -> int | None:
        """What may begin reasoning now."""
        reasoning = self.request.reasoning
        return reasoning.open_token if reasoning and self._text.undecided else None

    def _close_in_time(self) -> list[Part]:
        """End reasoning that has used up its budget: as if the model had written what ends it.

        Only where there is room for an answer; else it goes on to the end, and is cut there.
        """
        budget, reasoning = self.request.params.reasoning_budget, self.request.reasoning
        if budget is None or reasoning is None or not self._text.reasoning:
            return []
        if self._n_reasoned < budget or len(self.tokens) + len(reasoning.closing) >= self.n_most:
            return []
        self.tokens += reasoning.closing
        parts = self._text.close()
        if self._matcher:
            self._text.answer()
        return parts


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
    """Of every token that was generated but the model's end; None where nobody asked for them."""


Event = TextEvent | FinishEvent
