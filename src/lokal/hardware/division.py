"""How layers are divided among a few rooms for them; arithmetic only."""

from __future__ import annotations

from collections.abc import Sequence

_LEVELS = 256  # how finely rooms are filled evenly
_SMALL = 8  # a room of less than an eighth of the largest is used only where it is needed


def evenly(sizes: Sequence[int], rooms: Sequence[int], fixed: int, entry: int) -> list[int] | None:
    """How many of `sizes`, in their order, go to each room; None if they do not fit.

    Each room that takes part loses `fixed`, and the first of them `entry` besides. All are filled
    to about the same part of what they have.
    """
    large = [room if room * _SMALL >= max(rooms) else 0 for room in rooms]
    for some in (large, rooms):
        best = _filled(sizes, some, fixed, entry)
        if best is None:
            continue
        low, high = 0, _LEVELS  # the lowest level that does, as water would stand in all of them
        while high - low > 1:
            level = (low + high) // 2
            filled = _filled(sizes, [room * level // _LEVELS for room in some], fixed, entry)
            if filled:
                best, high = filled, level
            else:
                low = level
        return best
    return None


def apportioned(n: int, shares: Sequence[float]) -> list[int]:
    """`n` by shares, each the next lower number and those with the largest rests one more."""
    most = max(shares)
    whole = [round(share / most * 2**30) for share in shares]  # whole numbers divide exactly
    parts = [divmod(n * share, sum(whole)) for share in whole]
    counts = [count for count, _ in parts]
    by_rest = sorted(range(len(parts)), key=lambda i: -parts[i][1])
    for i in by_rest[: n - sum(counts)]:
        counts[i] += 1
    return counts


def _filled(sizes: Sequence[int], rooms: Sequence[int], fixed: int, entry: int) -> list[int] | None:
    """Each room takes all that it can; None if some are left over."""
    counts: list[int] = []
    at = 0
    for room in rooms:
        start, left = at, room - fixed - (0 if at else entry)
        while at < len(sizes) and room > 0 and sizes[at] <= left:
            left -= sizes[at]
            at += 1
        counts.append(at - start)
    return counts if at == len(sizes) else None
