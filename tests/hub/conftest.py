"""A Hub on loopback, and a machine that pulls from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from contents import BIG, FILES
from machine import Machine
from standin import Standin


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
