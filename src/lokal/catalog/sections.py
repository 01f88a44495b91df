"""The tables of models.toml, each parsed when it is asked for.

tomllib needs 5 ms for the whole file, and a command looks at one model of it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

_HEADER = re.compile(r'^\[(license|model|absent)\.("[^"]+"|[\w-]+)', re.MULTILINE)


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


def split(text: str) -> dict[str, Tables]:
    """Cut models.toml at its headers: the tables of each kind.

    Only for our own file, in which no text has a line that looks like a header.
    """
    found: dict[str, dict[str, str]] = {"license": {}, "model": {}, "absent": {}}
    headers = list(_HEADER.finditer(text))
    ends = [*(header.start() for header in headers[1:]), len(text)]
    for header, end in zip(headers, ends, strict=True):
        texts, name = found[header[1]], header[2].strip('"')
        texts[name] = texts.get(name, "") + text[header.start() : end]
    return {kind: Tables(kind, texts) for kind, texts in found.items()}
