"""The command, and models that are good for nothing but trouble."""

from __future__ import annotations

from pathlib import Path

import ggufs
import pytest
from command import Llm


@pytest.fixture
def llm(tmp_path: Path) -> Llm:
    return Llm(tmp_path)


@pytest.fixture(scope="session")
def endless(models: Path) -> Path:
    """A model that, under --ignore-eos, writes for longer than any test waits."""
    return ggufs.write(models / "endless.gguf", context=65536)


@pytest.fixture(scope="session")
def slow(models: Path) -> Path:
    """A model that takes seconds for a prompt of some thousand tokens."""
    return ggufs.write(
        models / "slow.gguf", context=65536, blocks=8, width=512, heads=8, feed_forward=1536
    )
