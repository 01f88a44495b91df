"""What the operations of a chat template may cost at most, told from their operands.

A cost is in the meter's units: characters read or written, whichever are more.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, KeysView, Set
from typing import Any

from jinja2.runtime import Undefined

from lokal.engine.template_meter import NotAllowedError, TooMuchError, quoted, weigh

PIECE = 32
"""Units for an item of a new list that is a new value itself."""
PATTERN = 100_000
"""Characters of a pattern that is filled; numbers are looked for in it."""
KEY = 2**60
"""Numbers from here on can have the hashes of others."""
ESCAPED = 6
"""Characters at most that become of one by escaping it in HTML or JSON."""

_KEYS = (str, int, Undefined, type(None))
_DIGITS = re.compile(r"\d+")
_NESTED = re.compile(r"\{[^{}]+\{")


def operation(operator: str, left: Any, right: Any) -> float:
    """Of `left + right` and the like."""
    if operator == "+" and type(left) is str and type(right) is str:  # what templates do most
        return len(left) + len(right)
    if operator == "%" and isinstance(left, str):
        return formatting(left, *(right if isinstance(right, tuple) else (right,)))
    if isinstance(left, int) and isinstance(right, int):
        if operator == "**":
            return (left.bit_length() * abs(right)) ** 2 >> 8
        n_bits, m_bits = left.bit_length(), right.bit_length()
        return n_bits + m_bits + (n_bits * m_bits >> 8)
    if operator == "-" and (isinstance(left, Set) or isinstance(right, Set)):
        raise NotAllowedError("the difference of sets")  # hashes all that they hold
    escaped = max(escaping(left), escaping(right))
    if operator == "*" and isinstance(left, int):
        return escaped * abs(left) * _length(right)
    if operator == "*" and isinstance(right, int):
        return escaped * abs(right) * _length(left)
    return escaped * (_length(left) + _length(right))


def escaping(value: Any) -> int:
    """Characters that become of one where it meets this value: Jinja's marked texts escape it."""
    return ESCAPED if isinstance(value, str) and type(value) is not str else 1


def negation(value: Any) -> float:
    """Of `-value` and `+value`."""
    return _length(value)


def _length(value: Any) -> int:
    if isinstance(value, int):
        return value.bit_length()
    if isinstance(value, str):
        return len(value)
    return 8 * len(value) if isinstance(value, Collection) else 0


def n_items(value: Any) -> int:
    """Items of a value; an iterator's are paid for one by one."""
    return len(value) if isinstance(value, Collection) else 1


def formatting(pattern: str, *values: Any) -> float:
    """Of filling a pattern: each field may show all values, as wide as any number says."""
    if len(pattern) > PATTERN or _NESTED.search(pattern):  # a width that is a value
        raise TooMuchError("makes too much text")
    numbers = [int(digits[:10]) for digits in _DIGITS.findall(pattern)]
    numbers += [min(abs(value), 10**10) for value in values if isinstance(value, int)]
    n_fields = pattern.count("%") + pattern.count("{") + pattern.count("*")
    shown = sum(quoted(v) if isinstance(v, str) else weigh(v, bare=0) for v in values)
    return len(pattern) + n_fields * (PIECE + sum(numbers) + shown)


def reading(*values: Any, **named: Any) -> float:
    """Of what goes through all its operands once, or writes them out."""
    total: float = 0
    for value in (*values, *named.values()):
        total += len(value) if isinstance(value, str) else weigh(value, bare=0)
    return total


def looking(*_values: Any, **_named: Any) -> float:
    """Of what takes the same time however large the operands are."""
    return 1


def searching(value: Any) -> float:
    """Of finding something in a value."""
    return 1 if isinstance(value, KeysView) else reading(value)


def passing(value: Any, *names: Any, attribute: Any = None, **named: Any) -> float:
    """Of handing on the items of a value one by one, each with what else is given."""
    each: float = PIECE if attribute is None else PIECE + _way(attribute)
    for argument in (*names, *named.values()):
        if not isinstance(argument, str):
            each += weigh(argument, bare=0)
    return n_items(value) * each


def _way(attribute: Any) -> float:
    """Of finding an attribute of an item, by a path of names or of several."""
    if isinstance(attribute, str):
        return PIECE * (1 + attribute.count(".") + attribute.count(",")) + len(attribute)
    return weigh(attribute)


def keying(keys: Iterable[Any]) -> float:
    """Of making a mapping with these keys.

    The hashes of texts are secret. Those of numbers are not, so they can be chosen to be hard to
    tell apart: each may be compared with all others, if only their hashes differ.

    Raises:
        NotAllowedError: hashes of such keys can be equal.
    """
    n_numbers = 0
    for key in keys:
        n_numbers += isinstance(key, int)
        if not isinstance(key, _KEYS) or (isinstance(key, int) and abs(key) >= KEY):
            raise NotAllowedError("a key that is neither a text nor a small whole number")
    return n_numbers**2


def adding(items: list[Any], start: Any) -> float:
    """Of a sum: each of its steps makes a new value."""
    cost, size = 0, _length(start)
    for item in items:
        size = max(size, _length(item)) + 1 if isinstance(item, int) else size + _length(item)
        cost += size
    return cost
