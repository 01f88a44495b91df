"""A request under way: its tokens, and what they have come to so far."""

from __future__ import annotations

import time
from dataclasses import dataclass

from lokal.engine.answer_text import AnswerText, Part
from lokal.engine.request import MAX_TOKENS, FinishReason, Request, TokenLogprob
from lokal.engine.splitter import splitter
from lokal.errors import IncompleteError, LokalError


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
        self._splitter = splitter(request.reasoning)
        self._text = AnswerText(request.params.stop, drop_space=request.drop_space)
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
            self._splitter.settle()
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
        if self.stuck or self._cut:
            return True
        return bool(matcher and (matcher.ended or matcher.error))

    def failure(self, reason: FinishReason) -> LokalError | None:
        """What keeps an answer that ends now, for this reason, from being what was asked for."""
        matcher, answering = self._matcher, self._splitter.answering
        if self.stuck:
            return self.stuck
        if matcher is None or (matcher.complete and answering and not self._cut):
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
            self.first_token_at is None
            and other.first_token_at is None
            and request.constraint is like.constraint
            and request.reasoning == like.reasoning
            and self.tokens == other.tokens
        )

    @property
    def constrained(self) -> bool:
        """Whether the next token is to be chosen with `mask`."""
        split = self._splitter
        return self._matcher is not None and (split.answering or split.undecided)

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
        split, matcher = self._splitter, self._matcher
        if matcher and split.undecided and token != self._open_token:
            split.settle()
        self._n_reasoned += split.reasoning
        answering = split.answering
        if matcher and answering and not ends:
            matcher.accept(token)
            if matcher.error:  # this token is no part of any answer
                return []
        if self.logprobs is not None and self.likelihood and not ends:
            self.logprobs.append(self.likelihood)
        parts = split.push(piece, name)
        if matcher and split.answering and not answering:
            split.settle()
            matcher.accept_bytes(b"".join(data for data, reasoning in parts if not reasoning))
        texts = self._text.push(parts)
        return texts if ends else texts + self._close_in_time()

    def flush(self) -> list[Part]:
        """The text that was held back at the end."""
        return self._text.push(self._splitter.flush()) + self._text.flush()

    @property
    def _cut(self) -> bool:
        """Whether a stop text ended the answer, or a mark of the model's format."""
        return self._text.stopped or self._splitter.over

    @property
    def _open_token(self) -> int | None:
        """What may begin reasoning now."""
        reasoning = self.request.reasoning
        return reasoning.open_token if reasoning and self._splitter.undecided else None

    def _close_in_time(self) -> list[Part]:
        """End reasoning that has used up its budget: as if the model had written what ends it.

        Only where there is room for an answer; else it goes on to the end, and is cut there.
        """
        budget, reasoning = self.request.params.reasoning_budget, self.request.reasoning
        if budget is None or reasoning is None or not self._splitter.reasoning:
            return []
        if self._n_reasoned < budget or len(self.tokens) + len(reasoning.closing) >= self.n_most:
            return []
        self.tokens += reasoning.closing
        parts = self._splitter.close()
        if self._matcher:
            self._splitter.settle()
        return self._text.push(parts)
