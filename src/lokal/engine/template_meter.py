"""How much work and text a chat template may make of the conversation that it is given.

CPython cannot interrupt one long operation, so whatever can make a large value is paid for before
it is made: about a unit for every character that it reads or writes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, MappingView
from math import inf
from time import thread_time
from typing import Any, cast

from jinja2.runtime import Context, LoopContext
from jinja2.utils import Cycler, Joiner, Namespace

SECONDS = 1.0
DEPTH = 100
ITEM = 16
"""Units for looking at one item of a list, or for paying: what that itself takes."""

ITEMS = 500_000
"""Items of a value and of all that it holds; walking over more would take too long."""
BETWEEN = 50_000
"""Units between two looks at the clock: less than a millisecond."""


class TooMuchError(Exception):
    """The template asks for more than it may have; says what, for a sentence about it."""


class NotAllowedError(Exception):
    """The template asks for what no template may have; says what, for a sentence about it."""


class Meter:
    """What the renderings of one conversation have left.

    A conversation of n characters may make values of 8 (n + 1 million), and 8 times that in one
    rendering: the longest templates use a hundredth of it. All its renderings share the time. It is
    the processor's time, so that a process that has to wait blames no template.
    """

    __slots__ = ("_deadline", "_left", "_next_look", "most")

    def __init__(self, variables: Mapping[str, Any]) -> None:
        size = weigh(variables, most=inf)
        self.most = 8 * (1_000_000 + size)
        self._deadline = thread_time() + SECONDS + size / 4e6
        self.fill()

    def fill(self) -> None:
        """For the next rendering, since what the last one made is gone."""
        self._left = self._next_look = 8 * self.most

    def spend(self, cost: float) -> None:
        """Pay for an operation that is about to be done.

        Raises:
            TooMuchError: it is too large, or the time is over.
        """
        left = self._left = self._left - cost - ITEM
        if not (cost <= self.most and left >= 0):  # false for NaN too
            raise TooMuchError("makes too much text")
        if left < self._next_look:
            self._next_look = left - BETWEEN
            if thread_time() > self._deadline:
                raise TooMuchError("takes too long")

    def read(self, value: Any) -> None:
        """Pay for looking at all of a value, or for writing it out."""
        self.spend(len(value) if type(value) is str else weigh(value, bare=0))


class MeteredContext(Context):
    """What a template's operations can see, its meter among it."""

    meter: Meter

    def derived(self, locals: dict[str, Any] | None = None) -> Context:  # noqa: A002 - Jinja's
        context = cast(MeteredContext, super().derived(locals))
        context.meter = self.meter
        return context


def meter_of(context: Context) -> Meter:
    return context.meter  # type: ignore[attr-defined, no-any-return]


def weigh(value: Any, per_level: int = 0, most: float = ITEMS, bare: int = DEPTH) -> float:
    """Characters of a value with all that it holds; what it holds twice counts twice.

    A value can be small in memory and exponentially large when written out. `per_level` is added
    for each item and each level that it lies deep. A text that lies deeper than `bare` levels may
    be written in quotes.

    Raises:
        TooMuchError: it has more than `most` items, or is nested deeper than Python's own functions
            can follow.
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
                total += len(item) if depth <= bare else quoted(item)
            elif kind is list or kind is tuple:
                deeper += item
            elif kind is int:
                total += item.bit_length() >> 2
            elif isinstance(item, str):
                total += quoted(item)
            elif isinstance(item, bytes):
                total += len(item)
            else:
                deeper += _inside(item)
            if n_items + len(deeper) > most:
                raise TooMuchError("makes too much text")
        if not deeper:
            return total
        level = deeper
    raise TooMuchError(f"makes values that lie more than {DEPTH} deep in one another")


def _inside(value: Any) -> Collection[Any]:
    """What a value holds, in itself or in the attributes that a template can ask for."""
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    if isinstance(value, Namespace):
        return (getattr(value, "_Namespace__attrs"),)  # noqa: B009 - a private name
    if isinstance(value, MappingView):
        return (value.mapping,)  # type: ignore[attr-defined]
    if isinstance(value, LoopContext):
        return (value.previtem, value.nextitem)
    if isinstance(value, Cycler | Joiner):
        return vars(value).values()
    return value if isinstance(value, Collection) else ()


def quoted(text: str) -> int:
    r"""Characters of a text with its special ones escaped: `\x00`, `\U000e0001`, `&#34;`."""
    return len(text) * (6 if text.isascii() else 10)
