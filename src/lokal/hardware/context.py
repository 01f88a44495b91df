"""How much context fits this machine."""

from __future__ import annotations

from typing import NamedTuple

from lokal.errors import SpaceError, UsageError
from lokal.gguf import Header

MAX_CONTEXT = 2**27  # tokens; beyond any model, and far from overflowing llama.cpp's counters
STEP = 256  # tokens; llama.cpp pads contexts to this
LEAST = 512  # tokens; a default context smaller than this helps nobody


class Context(NamedTuple):
    """A context size in tokens, and what the user should know about it."""

    n_ctx: int
    note: str | None = None


def choose(header: Header, limit: int, asked: int | None, available: int | None) -> Context:
    """The size asked for, else the model's own `limit`, capped by memory.

    By default the KV cache takes at most half of the memory that the weights leave. `available`
    is in bytes; None where it is unknown, and then nothing is capped.

    Raises:
        UsageError: a size that no model has.
        SpaceError: what was asked for does not fit.
    """
    if asked is not None:
        return _asked(header, limit, asked, available)
    limit = min(limit, MAX_CONTEXT)
    if available is None:
        return Context(limit)
    room = max(0, available - header.weights_bytes) // 2
    if limit <= LEAST or header.kv_bytes(limit) <= room:
        return Context(limit)
    fits = max(_most(header, room), LEAST)
    return Context(
        fits, f"the context is {fits} tokens of {limit}, as memory allows; -c asks for more"
    )


def check_context(asked: int) -> None:
    """Raises: UsageError: a size that no model has."""
    if not 1 < asked <= MAX_CONTEXT:
        raise UsageError(
            f"a context of {asked} tokens", hint=f"give -c a number from 2 to {MAX_CONTEXT}"
        )


def padded(n_ctx: int) -> int:
    """The context as llama.cpp makes it, in tokens."""
    return -(-n_ctx // STEP) * STEP


def most_cells(header: Header, n_parallel: int, available: int | None) -> int:
    """Tokens that the KV cache of so many sequences may hold: half of what the weights leave."""
    if available is None:
        return MAX_CONTEXT
    # Each sequence has its logits, and its sampler a list of candidates of 12 bytes.
    buffers = n_parallel * header.vocabulary_size * (4 + 12)
    return _most(header, max(0, available - header.weights_bytes - buffers) // 2)


def _asked(header: Header, limit: int, asked: int, available: int | None) -> Context:
    check_context(asked)
    room = None if available is None else max(0, available - header.weights_bytes)
    if room is not None and header.kv_bytes(asked) > room:
        need, have, most = header.kv_bytes(asked) / 1e9, room / 1e9, _most(header, room)
        raise SpaceError(
            f"a context of {asked} tokens needs {need:.1f} GB of memory, "
            f"the weights leave {have:.1f} GB",
            hint=f"-c {most} fits" if most else "free some memory, or choose a smaller model",
        )
    if asked > limit:
        return Context(asked, f"the context of {asked} tokens is beyond the model's {limit}")
    return Context(asked)


def _most(header: Header, room: int) -> int:
    """The largest context in whole steps whose KV cache fits into `room` bytes."""
    per_step = header.kv_bytes(STEP) or 1
    return room // per_step * STEP
