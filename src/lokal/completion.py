"""A finished answer, put together from the events of its request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from lokal.engine.detokenizer import printable
from lokal.engine.request import (
    Event,
    FinishEvent,
    FinishReason,
    Request,
    Timings,
    TokenLogprob,
    Usage,
)
from lokal.errors import LokalError


class Completion(NamedTuple):
    """A finished answer; one that failed says why in `error`."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    seed: int | None
    reasoning: str | None = None
    """What the model thought before it answered, if it did."""
    error: LokalError | None = None
    logprobs: tuple[TokenLogprob, ...] | None = None
    """Of every token that was sampled but the model's end, if they were asked for; also of
    reasoning, and of the tokens that a stop text cut off. Tokens that close reasoning because its
    budget is used up are not sampled."""


def completion(request: Request, events: Iterable[Event]) -> Completion:
    """The answer that all the events of a request make."""
    text = reasoning = ""
    for event in events:
        if isinstance(event, FinishEvent):
            end = event
        elif event.reasoning:
            reasoning += event.text
        else:
            text += event.text
    return Completion(
        printable(text),
        end.reason,
        end.usage,
        end.timings,
        request.seed,
        printable(reasoning) or None,
        end.error,
        end.logprobs,
    )


def failed(error: LokalError, seed: int | None = None) -> Completion:
    """What comes of a prompt that cannot be answered."""
    return Completion("", FinishReason.ERROR, Usage(0, 0), Timings(0, 0), seed, None, error)
