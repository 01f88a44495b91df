"""A Hub on loopback, and a machine that pulls from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from machine import Machine
from standin import Standin

Q4, Q8 = b"GGUF four" * 1000, b"GGUF eight" * 2000
SHARDS = {f"Q2_K/x-Q2_K-0000{i}-of-00002.gguf": b"GGUF" + bytes([i]) * 1000 for i in (1, 2)}
PARTS = {f"x-Q6_K.gguf.part{i}of3": bytes([i]) * 1000 * i for i in (1, 2, 3)}
FILES = {
    "README.md": b"# x",
    "x-Q4_K_M.gguf": Q4,
    "x-Q8_0.gguf": Q8,
    "mmproj-x.gguf": b"GGUF",
    **SHARDS,
    **PARTS,
}
# Above the least piece of a parallel transfer, and no multiple of anything.
BIG = Random(1).randbytes(20_000_003)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Standin]:
    with Standin(tmp_path / "hub") as standin:
        for name, data in FILES.items():
            standin.add("demo/x", name, data)
        yield standin


@pytest.fixture
def machine(tmp_path: Path, hub: Standin) -> Machine:
    return Machine(tmp_path, hub)


@pytest.fixture
def big(hub: Standin) -> bytes:
    """The content of the only file of demo/big."""
    hub.add("demo/big", "big-Q4_K_M.gguf", BIG)
    return BIG
