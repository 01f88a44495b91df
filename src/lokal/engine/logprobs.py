"""Log probabilities from a row of logits; imported only where they are asked for, with numpy."""

from __future__ import annotations

import ctypes
from typing import NamedTuple, Protocol

import numpy as np

from lokal.engine.detokenizer import printable
from lokal.engine.request import TokenLogprob


class Vocabulary(Protocol):
    """What is told of a token besides its number."""

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes that a token writes, or is named by."""


class Likely(NamedTuple):
    """What a row of logits says: `total` is the logarithm of the sum of their exponentials.

    It is no finite number where one of them is NaN or infinity, or all are -infinity. `top` holds
    the likeliest tokens and their log probabilities, the first first.
    """

    total: float
    top: list[tuple[int, float]]


def likely(logits: int, n_tokens: int, count: int) -> Likely:
    """Read a row of float32 logits at this address, with the `count` likeliest tokens.

    A token's log probability is its logit less `total`. Computed in float64: 128,000 tokens take
    three milliseconds.
    """
    floats = (ctypes.c_float * n_tokens).from_address(logits)
    row = np.frombuffer(memoryview(floats).cast("B"), np.float32).astype(np.float64)
    highest = row.max()
    if not np.isfinite(highest):
        return Likely(float(highest), [])
    total = float(highest + np.log(np.exp(row - highest).sum()))
    count = min(count, n_tokens)
    if not count:
        return Likely(total, [])
    found = np.argpartition(row, n_tokens - count)[n_tokens - count :]
    found = found[np.lexsort((found, -row[found]))]
    # A model may rule tokens out, and JSON has no infinity.
    return Likely(total, [(int(t), float(row[t]) - total) for t in found if np.isfinite(row[t])])


def token_logprob(
    vocabulary: Vocabulary, token: int, logprob: float, top: list[tuple[int, float]]
) -> TokenLogprob:
    """What is told of a token that was sampled, and of the likeliest in its place."""
    others = tuple(_entry(vocabulary, *entry) for entry in top)
    return _entry(vocabulary, token, logprob)._replace(top=others)


def _entry(vocabulary: Vocabulary, token: int, logprob: float) -> TokenLogprob:
    data = vocabulary.piece(token)
    # Control tokens write nothing, and are known by their names.
    text = printable((data or vocabulary.piece(token, special=True)).decode("utf-8", "replace"))
    return TokenLogprob(text, token, logprob, data)
