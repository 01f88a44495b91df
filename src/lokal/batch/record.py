"""What the formats have in common: a record of the input, before it is understood."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

from lokal.errors import UsageError

SHOWN, WIDTH = 10, 40  # names in a message, and characters of each


class Record(NamedTuple):
    """One row as it stands in the input, or why there is none.

    `line` is where it begins, from 1; `end` the bytes of the input up to and including it;
    `digest` the hex SHA-256 of its bytes. `asks` holds the keys that mean something to us,
    `fields` what a template may name.
    """

    line: int
    end: int
    digest: str
    asks: Mapping[str, Any] = {}
    fields: Mapping[str, Any] = {}
    error: UsageError | None = None


def listing(names: Mapping[str, Any]) -> str:
    """Names for a message, in the order of the row, not too many of them."""
    shown = [
        name if name.isidentifier() else repr(name)
        for name in (name[:WIDTH] + "…" * (len(name) > WIDTH) for name in islice(names, SHOWN))
    ]
    more = ", …" if len(names) > SHOWN else ""
    return ", ".join(shown) + more if shown else "none"
