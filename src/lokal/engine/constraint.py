"""What answers must match."""

from __future__ import annotations

from typing import NamedTuple


class Grammar(NamedTuple):
    """What an answer must match: `kind` is schema, json, regex or grammar."""

    kind: str
    text: str
