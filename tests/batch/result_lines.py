"""Rows, the lines they become, and a run that finishes them in any order."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lokal.batch.output import Output, OutputOptions, open_output


class Row(NamedTuple):
    id: str | int | None
    content: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content.encode()).hexdigest()[:16]


def line(row: Row, index: int, /, *, failed: bool = False, **others: Any) -> bytes:
    """One row of results."""
    result = {
        "id": row.id,
        "index": index,
        "input_hash": row.digest,
        "model": "tiny",
        "text": None if failed else row.content,
        "finish_reason": "error" if failed else "stop",
        "weights": "sha256:00",
        "fingerprint": "0123456789abcdef",
    }
    return json.dumps(result | others).encode() + b"\n"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_bytes().splitlines()]


def side(path: Path) -> Path:
    return path.with_name(f"{path.name}.pending")


def finish(
    output: Output,
    rows: Sequence[Row],
    chance: random.Random,
    make: Callable[[Row, int], bytes] = line,
    put: Callable[[bytes], object] = lambda _: None,
    parallel: int = 4,
) -> int:
    """Finish all rows that are not done, several at a time; returns how many that were."""
    computed = 0
    under_way: list[tuple[int, Row, int]] = []
    source = enumerate(rows)
    while True:
        for index, row in source:
            if not output.done(index, row.id, row.digest):
                under_way.append((output.ticket(), row, index))
                if len(under_way) == parallel:
                    break
        if not under_way:
            return computed
        ticket, row, index = under_way.pop(chance.randrange(len(under_way)))
        data = make(row, index)
        output.put(ticket, data)
        computed += 1
        put(data)


def run(path: Path, rows: Sequence[Row], chance: random.Random, **options: Any) -> int:
    """One run from beginning to end; returns how many rows it computed."""
    with open_output(str(path), OutputOptions(**options)) as output:
        output.begin()
        return finish(output, rows, chance)
