"""`TOKEN:BIAS`: tokens made likelier or less likely, named by number or by what they write."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

from lokal.engine.detokenizer import printable
from lokal.engine.request import MAX_BIAS
from lokal.errors import UsageError

_FORBIDS = ("false", "-inf")
_SHOWN = 8  # tokens in a message
# Texts that come before a token to see how it is cut inside a text: at its very beginning
# SentencePiece puts a space.
_LEADS = ("", "\n", ".")


class Vocabulary(Protocol):
    """What naming tokens needs of a vocabulary."""

    @property
    def n_tokens(self) -> int:
        """How many tokens there are."""

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a text, with BOS in front where the vocabulary wants it."""

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes that a token writes, or is named by."""


def parse_logit_bias(text: str) -> tuple[str, float]:
    """`TOKEN:BIAS`, cut at the last colon; `-inf` and `false` forbid the token.

    Raises:
        UsageError: one of the two is missing, or the bias is no number or out of range.
    """
    token, colon, bias = text.rpartition(":")
    if not colon or not token:
        raise UsageError(
            f"logit bias {text!r} names no {'token' if colon else 'bias'}",
            hint="give TOKEN:BIAS, such as 42:1.5, or ' the:-inf', which forbids \" the\"",
        )
    if bias in _FORBIDS:
        return token, -math.inf
    try:
        value = float(bias) if bias.isascii() and "_" not in bias and bias.strip() == bias else None
    except ValueError:
        value = None
    if value is None:
        raise UsageError(
            f"logit bias {text!r}: {bias!r} is no number", hint="-inf or false forbids the token"
        )
    if not abs(value) <= MAX_BIAS:
        raise UsageError(
            f"logit bias {text!r}: {bias} is out of range",
            hint=f"give a number between -{MAX_BIAS} and {MAX_BIAS}, or -inf",
        )
    return token, value


def resolve_logit_bias(
    pairs: Iterable[tuple[str, float]], vocabulary: Vocabulary
) -> tuple[tuple[int, float], ...]:
    """Token ids and their biases, as `SamplingParams.logit_bias` takes them.

    A token is a number, or a text that is exactly what one token writes (a space in front counts),
    or the name of a control token.

    Raises:
        UsageError: no such token; says into which ones a text is cut.
    """
    return tuple((_token(name, vocabulary), bias) for name, bias in pairs)


def check_tokens(biases: Iterable[tuple[int, float]], n_tokens: int) -> None:
    """Raises: UsageError: a token that a vocabulary of so many lacks."""
    for token, _ in biases:
        if token >= n_tokens:
            raise UsageError(
                f"logit bias for token {token}, but the model has {n_tokens} tokens",
                hint=f"give a number from 0 to {n_tokens - 1}, or the token's text",
            )


def _token(name: str, vocabulary: Vocabulary) -> int:
    if name.isascii() and name.isdigit():
        token = int(name)
        check_tokens([(token, 0)], vocabulary.n_tokens)
        return token
    if not name:
        raise UsageError("a logit bias for an empty text", hint="give a token's number or its text")
    lasts = [vocabulary.tokenize(lead + name)[-1] for lead in _LEADS]
    wanted = name.encode("utf-8", "surrogateescape")
    for last in lasts:
        if wanted in (vocabulary.piece(last), vocabulary.piece(last, special=True)):
            return last
    tokens = _cut(name, vocabulary)
    shown = ", ".join(_shown(token, vocabulary) for token in tokens[:_SHOWN])
    more = f", and {len(tokens) - _SHOWN} more" if len(tokens) > _SHOWN else ""
    raise UsageError(
        f"{printable(name)!r:.80} is not one token of this model, but {len(tokens)}: {shown}{more}",
        hint="give one of them, by its number or its text",
    )


def _cut(name: str, vocabulary: Vocabulary) -> list[int]:
    """The tokens of a text inside another; where that cannot be told apart, of the text alone."""
    for lead in _LEADS[1:]:
        before, both = vocabulary.tokenize(lead), vocabulary.tokenize(lead + name)
        if both[: len(before)] == before and len(both) > len(before):
            return both[len(before) :]
    return vocabulary.tokenize(name)


def _shown(token: int, vocabulary: Vocabulary) -> str:
    data = vocabulary.piece(token) or vocabulary.piece(token, special=True)
    return f"{token} {data.decode('utf-8', 'replace')!r}"
