"""Room in the context for a conversation and an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lokal.dialogue import Dialogue
from lokal.engine.chat import Message
from lokal.errors import ContextError


def dropped(
    dialogue: Dialogue,
    size: Callable[[Sequence[Message]], int],
    n_ctx: int,
    max_tokens: int | None,
    *,
    shift: bool,
) -> int:
    """How many of the oldest turns have no room; `size` counts the tokens of a prompt.

    Raises:
        ContextError: the last message has none, or some must go and there is to be no `shift`.
    """
    limit = n_ctx - min(max_tokens or n_ctx // 4, n_ctx // 2)
    fit = dialogue.fit(size, limit)
    if fit.n_tokens > limit:
        raise ContextError(
            f"the message makes a prompt of {fit.n_tokens} tokens, the context of {n_ctx} has room"
            f" for {limit} and an answer",
            hint="shorten it, or leave (Ctrl-D) and come back with a larger -c and --continue",
        )
    if fit.n_dropped and not shift:
        raise ContextError(
            f"the conversation has {size(dialogue.messages)} tokens, the context of {n_ctx} has"
            f" room for {limit} and an answer",
            hint="/clear starts over, a larger -c holds more, without --no-shift old turns go",
        )
    return fit.n_dropped
