"""How much context fits this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from lokal.errors import SpaceError, UsageError
from lokal.hardware.budget import Budget
from lokal.hardware.fit import Needs
from lokal.hardware.kv import STEP
from lokal.hardware.placement import Placement
from lokal.hardware.wishes import AUTO

MAX_CONTEXT = 2**27  # tokens; beyond any model, and far from overflowing llama.cpp's counters
LEAST = 512  # tokens; a default context smaller than this helps nobody
GOOD = 8192  # tokens; more are not worth a layer less on a GPU, unless they are asked for


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
    for may take all that is free. By default the KV cache takes at most half of what the weights
    leave, in main memory and on GPUs. There up to `GOOD` tokens may have it all, and take layers
    off; beyond, none leaves. At least `LEAST` tokens there always are.

    Raises:
        UsageError: a size that no model has, or no such GPU.
        SpaceError: too little memory; says what fits.
    """
    limit = min(limit, MAX_CONTEXT)
    if asked is None:
        context = _default(limit, budget, needs)
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

    `needs` says what so many cells take. On GPUs they may take all that layers leave. Where all
    layers are there with `GOOD` cells they stay; where some are not, more of them may leave, but
    not the last: many sequences at once make up for that.
    """
    if most <= least:
        return most
    like = budget.arranged(needs(max(least, min(most, GOOD))))

    def good(n_cells: int, placement: Placement, taken: Needs) -> bool:
        if like and n_cells > GOOD:
            lost = like.whole and not placement.whole
            if lost or (like.n_gpu_layers and not placement.n_gpu_layers):
                return False
        return budget.spares_memory(placement, taken)

    return _most(least, most, budget, needs, good)


def check_context(asked: int) -> None:
    """Raises: UsageError: a size that no model has."""
    if not 1 < asked <= MAX_CONTEXT:
        raise UsageError(
            f"a context of {asked} tokens", hint=f"give -c a number from 2 to {MAX_CONTEXT}"
        )


def _default(limit: int, budget: Budget, needs: Callable[[int], Needs]) -> Context:
    like = budget.arranged(needs(min(limit, GOOD)))

    def good(n_ctx: int, placement: Placement, taken: Needs) -> bool:
        stays = like is None or placement.reach >= like.reach
        on_gpus = n_ctx <= GOOD or (stays and budget.spares_gpus(placement, taken))
        return on_gpus and budget.spares_memory(placement, taken)

    n_ctx = _most(min(limit, LEAST), limit, budget, needs, good)
    if n_ctx == limit:
        return Context(n_ctx)
    why = "as memory allows"
    if like and like.n_gpu_layers and n_ctx >= GOOD and budget.wishes.layers is AUTO:
        more = budget.arranged(needs(n_ctx + STEP))
        if more and (more.reach < like.reach or not like.whole):
            why = "so that no layer leaves the GPU"
    return Context(n_ctx, f"the context is {n_ctx} tokens of {limit}, {why}; -c asks for more")


def _most(
    least: int,
    most: int,
    budget: Budget,
    needs: Callable[[int], Needs],
    good: Callable[[int, Placement, Needs], bool],
) -> int:
    """The most tokens that are good where they are placed, but never fewer than `least`."""

    def fine(n: int) -> bool:
        taken = needs(n)
        placement = budget.arranged(taken)
        return placement is not None and good(n, placement, taken)

    return most if fine(most) else max(least, _largest(fine, least, most))


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


def _beyond(asked: int, limit: int) -> str:
    return f"the context of {asked} tokens is beyond the model's {limit}"
