"""What chat templates may call, and what that costs at most.

A method, filter or test that is not here is one that no chat template needs, and is refused. Its
cost is a function with the same parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lokal.engine.template_costs import (
    ESCAPED,
    PIECE,
    formatting,
    looking,
    n_items,
    operation,
    passing,
    reading,
)
from lokal.engine.template_meter import NotAllowedError, weigh

Cost = Callable[..., float]

SPACES = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)


def _passing_by(value: Any, attribute: Any, *test: Any, **named: Any) -> float:
    return passing(value, *test, attribute=attribute, **named)


def _sorting(
    value: Any, reverse: Any = False, case_sensitive: Any = False, attribute: Any = None
) -> float:
    return reading(value, reverse, case_sensitive) + passing(value, attribute=attribute)


def _choosing(value: Any, case_sensitive: Any = False, attribute: Any = None) -> float:
    return reading(value, case_sensitive) + passing(value, attribute=attribute)


def _distinct(value: Any, case_sensitive: Any = False, attribute: Any = None) -> float:
    alike = sum(not isinstance(item, str) for item in value) if attribute is None else len(value)
    return _choosing(value, case_sensitive, attribute) + alike**2


def _sorting_mapping(value: Any, *_how: Any, **_named: Any) -> float:
    return reading(value) + passing(value)


def _rounding(value: Any, precision: Any = 0, method: Any = "common") -> float:
    if not isinstance(value, int | float):
        raise TypeError("only a number can be rounded")
    n_bits = 4 * abs(precision) if isinstance(precision, int) else 0
    if isinstance(value, int):
        n_bits += value.bit_length()
    return n_bits + (n_bits**2 >> 8) + reading(method)


def _slicing(value: Any, slices: Any, fill_with: Any = None) -> float:  # noqa: ARG001
    return passing(value) + 4 * PIECE * (abs(slices) if isinstance(slices, int) else 1)


def _batching(value: Any, linecount: Any, fill_with: Any = None) -> float:
    filled = isinstance(linecount, int) and fill_with is not None
    return 4 * passing(value) + (8 * abs(linecount) if filled else 0)


def _counting_words(value: Any) -> float:
    return 8 * reading(value)


def _casing(value: Any) -> float:
    return 3 * reading(value)  # three letters at most become of one


def _escaping(value: Any) -> float:
    return ESCAPED * reading(value)


def _searching_backwards(value: str, what: str = "", *_bounds: Any, **_named: Any) -> float:
    return len(value) * (1 + len(what))


def _stripping(value: Any, chars: Any = None) -> float:
    return reading(value) * (1 + (0 if chars is None else n_items(chars)))


def _splitting(value: str, separator: str | None = None, *_rest: Any, **_named: Any) -> float:
    n_pieces = value.count(separator) if separator else _n_spaces(value)
    return len(value) + PIECE * (1 + n_pieces)


def _n_spaces(value: str) -> int:
    """What may end words and lines."""
    return sum(map(value.count, SPACES))


def _splitting_backwards(value: str, separator: str | None = None, *_rest: Any, **_n: Any) -> float:
    return _splitting(value, separator) + _searching_backwards(value, separator or "")


def _replacing(value: Any, old: Any, new: Any, *_count: Any, **_named: Any) -> float:
    n_places = value.count(old) if isinstance(value, str) else reading(value)
    return reading(value, old) + n_places * reading(new)


def _padding(value: str, width: int, *_fill: Any) -> float:
    return len(value) + abs(width)


def _expanding(value: str, tabsize: int = 8) -> float:
    return len(value) * (1 + abs(tabsize))


def _joining(separator: Any, items: Any) -> float:
    return weigh(items, bare=1) + reading(separator) * n_items(items)


def _join(items: Any, separator: Any = "", attribute: Any = None) -> float:
    return passing(items, attribute=attribute) + _joining(separator, items)


def _indent(value: str, width: Any = 4, *_which: Any, **_named: Any) -> float:
    margin = len(width) if isinstance(width, str) else abs(width)
    return len(value) + (1 + _n_spaces(value)) * (PIECE + margin)


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
    escaped = 2 * ESCAPED if ensure_ascii else ESCAPED
    return escaped * weigh(value, per_level=margin + between)


def _format(pattern: Any, *values: Any, **named: Any) -> float:
    if not isinstance(pattern, str):
        raise NotAllowedError("a pattern that is no text")
    return formatting(pattern, *values, *named.values())


def _dividing(number: Any, by: Any = 2) -> float:
    return operation("%", number, by)


def _alike(names: str, cost: Cost) -> dict[str, Cost]:
    return dict.fromkeys(names.split(), cost)


TEXT_METHODS: dict[str, Cost] = {
    **_alike(
        "startswith endswith removeprefix removesuffix find index count partition isalnum isalpha "
        "isascii isdecimal isdigit islower isnumeric isspace istitle isupper isidentifier "
        "isprintable",
        reading,
    ),
    **_alike("lower upper title capitalize swapcase casefold", _casing),
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
LIST_METHODS: dict[str, Cost] = {"index": reading, "count": reading, "copy": passing}
MAPPING_METHODS: dict[str, Cost] = {
    "get": lambda _mapping, key, *_default: reading(key),
    "copy": passing,
    **_alike("items keys values", looking),
}
LOOP_METHODS: dict[str, Cost] = {"cycle": looking, "changed": reading}
CYCLER_METHODS = _alike("next reset", looking)

FILTERS: dict[str, Cost] = {
    **_alike("count d default first last length", looking),
    **_alike("items list map reject reverse select", passing),
    **_alike("rejectattr selectattr", _passing_by),
    **_alike("max min", _choosing),
    **_alike("abs attr float int safe string truncate", reading),
    **_alike("capitalize lower upper", _casing),
    **_alike("e escape", _escaping),
    "batch": _batching,
    "dictsort": _sorting_mapping,
    "format": _format,
    "indent": _indent,
    "join": _join,
    "replace": _replacing,
    "round": _rounding,
    "slice": _slicing,
    "sort": _sorting,
    "sum": passing,
    "title": _title,
    "tojson": _tojson,
    "trim": _stripping,
    "unique": _distinct,
    "wordcount": _counting_words,
}
TESTS: dict[str, Cost] = {
    **_alike(
        "boolean callable defined escaped false float integer iterable mapping none number sameas "
        "sequence string true undefined",
        looking,
    ),
    **_alike(
        "!= < <= == > >= eq equalto filter ge greaterthan gt in le lessthan lower lt ne test upper",
        reading,
    ),
    **_alike("divisibleby even odd", _dividing),
}
