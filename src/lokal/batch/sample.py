"""A few rows of many."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def sample(rows: Iterable[T], count: int) -> list[T]:
    """Choose `count` rows at random, each as likely as any other; all of them if there are fewer.

    They keep their order, and the same input always gives the same ones. Only the chosen rows are
    held, but all are read.
    """
    import random

    draw = random.Random(0)
    chosen: list[tuple[int, T]] = []
    for place, row in enumerate(rows):
        if place < count:
            chosen.append((place, row))
        elif (spot := draw.randrange(place + 1)) < count:
            chosen[spot] = (place, row)
    return [row for _, row in sorted(chosen, key=lambda pair: pair[0])]
