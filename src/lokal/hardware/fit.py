"""Whether a model fits this machine, before there is a header to read."""

from __future__ import annotations

from lokal.hardware.memory import total_bytes

_SYSTEM = 10**9  # bytes that the system and whatever else runs keep for themselves


def needed(size: int) -> int:
    """Memory for weights of that size, in bytes: a tenth more, and half a gigabyte.

    That holds the KV cache of some 4000 tokens and the buffers of the computation for nearly all
    models; exact numbers take a header.
    """
    return size + size // 10 + 5 * 10**8


def fits(size: int) -> bool | None:
    """Whether weights of that size run in the whole memory of this machine; None if unknown."""
    total = total_bytes()
    return None if total is None else needed(size) + _SYSTEM <= total
