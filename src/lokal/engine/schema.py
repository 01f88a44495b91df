"""JSON Schemas as data: reading them, and where in them something stands."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from lokal.errors import ConstraintError

EXACT = 2**53  # the integers up to here are floats too

# Keywords whose values are schemas: one of them, a list of them, or a map from names to them.
_MAPS = {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}
_VALUES = {"enum", "const", "default", "examples", "x-guidance"}  # data, whatever they look like


def parse_schema(text: str, name: str = "the schema") -> dict[str, Any]:
    """A JSON Schema out of its text; `name` says in messages what was read.

    Raises:
        ConstraintError: not JSON, with line and column; or not an object.
    """
    try:
        schema = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ConstraintError(
            f"{name} is not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}",
            hint="correct it there",
        ) from None
    except ValueError as error:  # a key twice, NaN, a number of thousands of digits
        why = str(error).partition(";")[0]
        raise ConstraintError(f"{name} is not valid JSON: {why}", hint="correct it there") from None
    except RecursionError:
        raise _too_deep(name) from None
    if not isinstance(schema, dict):
        raise ConstraintError(
            f"{name} is no JSON object", hint='a schema looks like {"type": "object"}'
        )
    return schema


def canonical_schema(schema: Mapping[str, Any], name: str = "the schema") -> str:
    """The schema as JSON on one line; the order stays, it is the order of the answer's fields.

    Raises:
        ConstraintError: it holds what JSON cannot, or not exactly.
    """
    try:
        text = json.dumps(schema, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except RecursionError:
        raise _too_deep(name) from None
    except UnicodeEncodeError as error:
        raise ConstraintError(
            f"{name} holds U+{ord(error.object[error.start]):04X}, half a character",
            hint="write the whole character",
        ) from None
    except (TypeError, ValueError) as error:
        raise ConstraintError(
            f"{name} cannot be written as JSON: {error}",
            hint="use dicts, lists, texts, finite numbers, True, False and None",
        ) from None
    _check_numbers(schema, name)
    return text


def _check_numbers(schema: Mapping[str, Any], name: str) -> None:
    """llguidance reads numbers as floats, and would ask for a neighbour of a larger one."""
    pending: list[Any] = [schema]
    while pending:
        value = pending.pop()
        if isinstance(value, Mapping):
            pending += value.values()
        elif isinstance(value, list | tuple):
            pending += value
        elif isinstance(value, int) and abs(value) > EXACT:
            raise ConstraintError(
                f"{name} holds {str(value)[:40]}, larger than what numbers of JSON keep exactly",
                hint="write it as a text, or choose a smaller one",
            )


def subschemas(schema: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema inside a schema with its JSON pointer, the outer one first.

    Names of properties are no keywords, and constants are no schemas.
    """
    pending: list[tuple[str, Any, bool]] = [("#", schema, False)]
    while pending:
        pointer, value, is_map = pending.pop()
        if isinstance(value, list):
            inner = [(str(index), item) for index, item in enumerate(value)]
        elif isinstance(value, dict):
            inner = [*value.items()]
            if not is_map:
                yield pointer, value
        else:
            continue
        pending += [
            (f"{pointer}/{_escaped(key)}", item, not is_map and key in _MAPS)
            for key, item in reversed(inner)
            if is_map or key not in _VALUES
        ]


def without_zero_bounds(text: str) -> str:
    """The schema with its exclusive bounds moved away from zero by a billionth.

    llguidance 1.9 lets the number 0 through where it must be greater than 0 and at most 1, and
    -0 on the other side.
    """
    if '"exclusiveM' not in text:
        return text
    schema = json.loads(text)
    for _, inner in subschemas(schema):
        for key, bound in (("exclusiveMinimum", 1e-9), ("exclusiveMaximum", -1e-9)):
            if inner.get(key) == 0 and inner[key] is not False:  # a flag, in draft 4
                inner[key] = bound
    return json.dumps(schema)


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(
            f"the key {json.dumps(twice, ensure_ascii=False)} stands twice in an object"
        )
    return result


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _too_deep(name: str) -> ConstraintError:
    return ConstraintError(f"{name} is nested too deeply", hint="use $defs and $ref")
