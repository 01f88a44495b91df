"""How much work and text a chat template may make of the conversation that it is given.

CPython cannot interrupt one long operation, so whatever can make a large value is paid for before
it is made: about a unit for every character that it reads or writes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import inf
from time import monotonic
from typing import Any

from jinja2.utils import Namespace

SECONDS = 1.0
DEPTH = 100
ITEM = 16
"""Units for looking at one item of a list: what the walk itself takes."""

ITEMS = 500_000
"""Items of a value and of all that it holds; walking over more would take too long."""


class TooMuchError(Exception):
    """The template asks for more than it may have; says what, for a sentence about it."""


class Meter:
    """What one rendering has left.

    A conversation of n characters may make values of 8 (n + 1 million), and 8 times that in all:
    the longest templates use a hundredth of it.
    """

    __slots__ = ("_deadline", "_left", "most")

    def __init__(self, variables: Mapping[str, Any]) -> None:
        size = weigh(variables, most=inf)
        self.most = 8 * (1_000_000 + size)
        self._left = 8 * self.most
        self._deadline = monotonic() + SECONDS + size / 4e6

    def spend(self, cost: float) -> None:
        """Pay for an operation that is about to be done.

        Raises:
            TooMuchError: it is too large, or the time is over.
        """
        self._left -= cost
        if cost > self.most or self._left < 0:
            raise TooMuchError("makes too much text")
        if monotonic() > self._deadline:
            raise TooMuchError("takes too long")

    def read(self, value: Any) -> None:
        """Pay for looking at all of a value, or for writing it out."""
        self.spend(len(value) if type(value) is str else weigh(value))


def weigh(value: Any, per_level: int = 0, most: float = ITEMS) -> float:
    """Characters of a value with all that it holds; what it holds twice counts twice.

    A value can be small in memory and exponentially large when written out, so one of more than
    `most` items just weighs infinitely much. `per_level` is added for each item and each level
    that it lies deep.

    Raises:
        TooMuchError: it is nested deeper than Python's own functions can follow.
    """
    total = n_items = 0
    level: Collection[Any] = (value,)
    for depth in range(DEPTH):
        n_items += len(level)
        total += len(level) * (ITEM + per_level * depth)
        deeper: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is str:
                total += len(item)
            elif kind is list or kind is tuple:
                deeper += item
            elif kind is int:
                total += item.bit_length() >> 2
            elif isinstance(item, str | bytes):
                total += len(item)
            elif isinstance(item, Namespace):
                deeper.append(getattr(item, "_Namespace__attrs"))  # noqa: B009 - a private name
            elif isinstance(item, Mapping):
                deeper += item.keys()
                deeper += item.values()
            elif isinstance(item, Collection):
                deeper += item
            if n_items + len(deeper) > most:
                return inf
        if not deeper:
            return total
        level = deeper
    raise TooMuchError(f"makes values that lie more than {DEPTH} deep in one another")
