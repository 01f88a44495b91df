"""The tables of models.toml, each parsed and overlaid when it is asked for.

tomllib needs 5 ms for the whole file, and a command looks at one model of it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

_HEADER = re.compile(r'^\[(license|reasoning|model|absent)\.("[^"]+"|[\w-]+)', re.MULTILINE)


class Tables(Mapping[str, Any]):
    """The tables of one kind, `[KIND.NAME...]`, by name, in the order of the file.

    `parsed` are those that somebody has asked for.
    """

    def __init__(self, kind: str, texts: Mapping[str, str]) -> None:
        self._kind = kind
        self._texts = texts
        self.parsed: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self.parsed:
            self.parsed[name] = tomllib.loads(self._texts[name])[self._kind][name]
        return self.parsed[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


class Overlaid(Mapping[str, Any]):
    """Tables by name with the user's laid over them, each when it is asked for."""

    def __init__(self, tables: Mapping[str, Any], over: Mapping[str, Any]) -> None:
        self._tables = tables
        self._over = over

    def __getitem__(self, name: str) -> Any:
        if name not in self._over:
            return self._tables[name]
        return merge(self._tables.get(name, {}), self._over[name])

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._tables, *self._over]))

    def __len__(self) -> int:
        return len(self._tables.keys() | self._over.keys())


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one table over another, field by field; tables inside them likewise."""
    merged = dict(base)
    for key, value in over.items():
        under = merged.get(key)
        if isinstance(under, dict) and isinstance(value, dict):
            merged[key] = merge(under, value)
        else:
            merged[key] = value
    return merged


def split(text: str) -> dict[str, Tables]:
    """Cut models.toml at its headers: the tables of each kind.

    Only for our own file, in which no text has a line that looks like a header.
    """
    kinds = ("license", "reasoning", "model", "absent")
    found: dict[str, dict[str, str]] = {kind: {} for kind in kinds}
    headers = list(_HEADER.finditer(text))
    ends = [*(header.start() for header in headers[1:]), len(text)]
    for header, end in zip(headers, ends, strict=True):
        texts, name = found[header[1]], header[2].strip('"')
        texts[name] = texts.get(name, "") + text[header.start() : end]
    return {kind: Tables(kind, texts) for kind, texts in found.items()}
