"""Rows out of bytes, for tests."""

from __future__ import annotations

import io
import json
from typing import Any

from lokal.batch.rows import ReadOptions, Row, read


def rows(data: bytes | str, name: str = "rows.jsonl", **options: Any) -> list[Row]:
    raw = data.encode() if isinstance(data, str) else data
    return list(read(io.BytesIO(raw), name, ReadOptions(**options)))


def row(value: Any, **options: Any) -> Row:
    """The one row that a JSON value makes."""
    [only] = rows(json.dumps(value), **options)
    return only


def refusal(value: Any, **options: Any) -> str:
    """What is wrong with the row that a JSON value, or a line, makes."""
    [only] = rows(value if isinstance(value, bytes) else json.dumps(value), **options)
    return complaint(only)


def complaint(row: Row) -> str:
    """What is wrong with a row; it says so in one line, with its number, and asks for nothing."""
    assert row.error
    assert row.error.hint
    assert not row.messages
    assert len(row.digest) == 16
    prefix = f"line {row.line}: "
    assert row.error.message.startswith(prefix)
    assert "\n" not in row.error.message
    return row.error.message.removeprefix(prefix)


def texts(row: Row) -> list[tuple[str, str]]:
    """Role and content of each message of a good row."""
    assert row.error is None
    return [(message["role"], message["content"]) for message in row.messages]
