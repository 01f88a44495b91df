"""How much context fits this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from lokal.errors import SpaceError, UsageError
from lokal.hardware.budget import Budget
from lokal.hardware.fit import Needs
from lokal.hardware.placement import Placement

MAX_CONTEXT = 2**27  # tokens; beyond any model, and far from overflowing llama.cpp's counters
STEP = 256  # tokens; llama.cpp pads contexts to this
LEAST = 512  # tokens; a default context smaller than this helps nobody
GOOD = 4096  # tokens; more are not worth a layer less on a GPU, unless they are asked for


class Context(NamedTuple):
    """A context size in tokens, and what the user should know about it."""

    n_ctx: int
    note: str | None = None


class Settled(NamedTuple):
    """A context, where the layers go with it, and what it all takes."""

    context: Context
    placement: Placement
    needs: Needs


def settle(limit: int, asked: int | None, budget: Budget, needs: Callable[[int], Needs]) -> Settled:
    """The size asked for, else the model's own `limit`, capped by memory.

    `needs` says what a context of so many tokens takes; more tokens never take less. A size asked
    for may take all that is free. By default, if all layers fit on GPUs with `GOOD` tokens, they
    stay there, and the context gets what is left but for the margin. Else the part of the KV cache
    in main memory is at most half of what the weights leave there, the context at least `LEAST`.

    Raises:
        UsageError: a size that no model has, or no such GPU.
        SpaceError: too little memory; says what fits.
    """
    limit = min(limit, MAX_CONTEXT)
    if asked is None:
        n_ctx = _most(min(limit, LEAST), limit, budget, needs)
        context = Context(n_ctx, _capped(n_ctx, limit) if n_ctx < limit else None)
    else:
        check_context(asked)
        context = Context(asked, _beyond(asked, limit) if asked > limit else None)
    taken = needs(context.n_ctx)
    try:
        return Settled(context, budget.arrange(taken), taken)
    except SpaceError as error:
        fits = _largest(lambda n: budget.arranged(needs(n)) is not None, 0, asked or 0)
        if not fits:
            raise
        raise SpaceError(
            f"with a context of {asked} tokens {error.message}",
            hint=f"-c {fits} fits; {error.hint}",
        ) from None


def most_cells(least: int, most: int, budget: Budget, needs: Callable[[int], Needs]) -> int:
    """How many cells, from `least` to `most`, a KV cache gets by the rules for a default context.

    `needs` says what so many cells take.
    """
    return most if most <= least else _most(least, most, budget, needs)


def check_context(asked: int) -> None:
    """Raises: UsageError: a size that no model has."""
    if not 1 < asked <= MAX_CONTEXT:
        raise UsageError(
            f"a context of {asked} tokens", hint=f"give -c a number from 2 to {MAX_CONTEXT}"
        )


def padded(n_ctx: int) -> int:
    """The context as llama.cpp makes it, in tokens."""
    return -(-n_ctx // STEP) * STEP


def _most(least: int, most: int, budget: Budget, needs: Callable[[int], Needs]) -> int:
    """The most tokens that leave enough to others, but never fewer than `least`."""
    like = budget.arranged(needs(max(least, min(most, GOOD)))) if budget.machine.gpus else None
    if budget.spares(needs(most), like):
        return most
    return max(least, _largest(lambda n: budget.spares(needs(n), like), least, most))


def _largest(good: Callable[[int], bool], low: int, high: int) -> int:
    """The largest size below `high` that is good, in whole steps; `low` counts as good."""
    low, high = low // STEP, -(-high // STEP)
    while high - low > 1:
        middle = (low + high) // 2
        if good(middle * STEP):
            low = middle
        else:
            high = middle
    return low * STEP


def _capped(n_ctx: int, limit: int) -> str:
    return f"the context is {n_ctx} tokens of {limit}, as memory allows; -c asks for more"


def _beyond(asked: int, limit: int) -> str:
    return f"the context of {asked} tokens is beyond the model's {limit}"
