"""What the operations of a chat template may cost at most, told from their operands.

An operation that is not here is one that no chat template needs, and is refused. A cost is in the
meter's units: characters read or written, whichever are more. Those of methods and filters are
functions with the same parameters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from math import inf
from typing import Any

from lokal.engine.template_meter import weigh

Cost = Callable[..., float]

PIECE = 32
"""Units for an item of a new list that is a new value itself."""
PATTERN = 100_000
"""Characters of a pattern that is filled; numbers are looked for in it."""
DOTS = 8
"""How far down the name of an attribute may lead."""
SPACES = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)

_DIGITS = re.compile(r"\d+")
_NESTED = re.compile(r"\{[^{}]+\{")


def operation(operator: str, left: Any, right: Any) -> float:
    """Of `left + right` and the like."""
    if operator == "%" and isinstance(left, str):
        return formatting(left, *(right if isinstance(right, tuple) else (right,)))
    if operator in "+-":
        return _length(left) + _length(right)
    if isinstance(left, int) and isinstance(right, int):
        if operator == "**":
            return (left.bit_length() * abs(right)) ** 2 >> 8
        return left.bit_length() * right.bit_length() >> 8
    if operator == "*":
        times = next((abs(n) for n in (left, right) if isinstance(n, int)), 1)
        return max(_length(n) for n in (left, right) if not isinstance(n, int)) * times
    return 1


def _length(value: Any) -> int:
    if isinstance(value, int):
        return value.bit_length()
    return len(value) if isinstance(value, str) else 8 * n_items(value)


def n_items(value: Any) -> int:
    """Items of a value; an iterator's were paid for where it was made."""
    return len(value) if isinstance(value, Collection) else 1


def formatting(pattern: str, *values: Any) -> float:
    """Of filling a pattern: each field may show all values, as wide as any number says."""
    if len(pattern) > PATTERN or _NESTED.search(pattern):  # a width that is a value
        return inf
    numbers = [int(digits[:10]) for digits in _DIGITS.findall(pattern)]
    numbers += [min(abs(value), 10**10) for value in values if isinstance(value, int)]
    n_fields = pattern.count("%") + pattern.count("{") + pattern.count("*")
    return len(pattern) + n_fields * (PIECE + sum(numbers) + 4 * reading(*values))


def reading(*values: Any, **named: Any) -> float:
    """Of what goes through all its operands once."""
    total: float = 0
    for value in (*values, *named.values()):
        total += len(value) if isinstance(value, str) else weigh(value)
    return total


def looking(*_values: Any, **_named: Any) -> float:
    """Of what takes the same time however large the operands are."""
    return 1


def passing(value: Any, *names: Any, **named: Any) -> float:
    """Of handing on the items of a value one by one; names are attributes, filters or tests."""
    if any(name.count(".") > DOTS for name in (*names, *named.values()) if isinstance(name, str)):
        return inf
    return PIECE * n_items(value)


def _arranging(value: Any, *names: Any, **named: Any) -> float:
    return reading(value) + passing(value, *names, **named)


def _searching_backwards(value: str, what: str = "", *_bounds: Any, **_named: Any) -> float:
    return len(value) * (1 + len(what))


def _stripping(value: Any, chars: Any = None) -> float:
    return reading(value) * (1 + (0 if chars is None else n_items(chars)))


def _splitting(value: str, separator: str | None = None, *_rest: Any, **_named: Any) -> float:
    n_pieces = value.count(separator) if separator else sum(map(value.count, SPACES))
    return len(value) + PIECE * (1 + n_pieces)


def _splitting_backwards(value: str, separator: str | None = None, *_rest: Any, **_n: Any) -> float:
    return _splitting(value, separator) + _searching_backwards(value, separator or "")


def _replacing(value: Any, old: Any, new: Any, *_count: Any, **_named: Any) -> float:
    n_places = value.count(old) if isinstance(value, str) else reading(value)
    return reading(value, old) + n_places * reading(new)


def _padding(value: str, width: int, *_fill: Any) -> float:
    return len(value) + abs(width)


def _expanding(value: str, tabsize: int = 8) -> float:
    return len(value) * (1 + abs(tabsize))


def _joining(separator: str, items: Any) -> float:
    return reading(items) + len(separator) * n_items(items)


def _join(items: Any, separator: str = "", attribute: Any = None) -> float:
    return passing(items, attribute) + _joining(separator, items)


def _indent(value: str, width: Any = 4, *_which: Any, **_named: Any) -> float:
    margin = len(width) if isinstance(width, str) else abs(width)
    return len(value) + (1 + value.count("\n")) * (PIECE + margin)


def _title(value: Any) -> float:
    return PIECE * reading(value)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: Any = None,
    separators: Any = None,
    sort_keys: bool = False,  # noqa: ARG001 - the same parameters
) -> float:
    margin = len(indent) if isinstance(indent, str) else abs(indent or 0)
    between = sum(map(len, separators)) if separators else 0
    escaped = 12 if ensure_ascii else 6
    return escaped * weigh(value, per_level=margin + between)


def _format(pattern: Any, *values: Any, **named: Any) -> float:
    return formatting(str(pattern), *values, *named.values())


def _dividing(number: Any, by: Any = 2) -> float:
    return operation("%", number, by)


def _alike(names: str, cost: Cost) -> dict[str, Cost]:
    return dict.fromkeys(names.split(), cost)


TEXT_METHODS: dict[str, Cost] = {
    **_alike(
        "startswith endswith removeprefix removesuffix find index count partition lower upper "
        "title capitalize swapcase casefold isalnum isalpha isascii isdecimal isdigit islower "
        "isnumeric isspace istitle isupper isidentifier isprintable",
        reading,
    ),
    **_alike("strip lstrip rstrip", _stripping),
    **_alike("rfind rindex rpartition", _searching_backwards),
    **_alike("center ljust rjust zfill", _padding),
    "expandtabs": _expanding,
    "join": _joining,
    "replace": _replacing,
    "split": _splitting,
    "splitlines": _splitting,
    "rsplit": _splitting_backwards,
}
LIST_METHODS: dict[str, Cost] = {"index": reading, "count": reading}
MAPPING_METHODS: dict[str, Cost] = {
    "get": lambda _mapping, key, *_default: reading(key),
    "items": looking,
    "keys": looking,
    "values": looking,
}
LOOP_METHODS: dict[str, Cost] = {"cycle": looking, "changed": reading}

FILTERS: dict[str, Cost] = {
    **_alike("count d default first last length", looking),
    **_alike("items list map reject rejectattr reverse select selectattr", passing),
    **_alike("dictsort max min sort unique", _arranging),
    **_alike("abs attr capitalize e escape float int lower safe string truncate upper", reading),
    "format": _format,
    "indent": _indent,
    "join": _join,
    "replace": _replacing,
    "title": _title,
    "tojson": _tojson,
    "trim": _stripping,
}
TESTS: dict[str, Cost] = {
    **_alike(
        "boolean callable defined escaped false float integer iterable mapping none number sameas "
        "sequence string true undefined",
        looking,
    ),
    **_alike(
        "!= < <= == > >= eq equalto ge greaterthan gt in le lessthan lower lt ne upper",
        reading,
    ),
    **_alike("divisibleby even odd", _dividing),
}
