"""The command, and models that are good for nothing but trouble."""

from __future__ import annotations

from pathlib import Path

import ggufs
import pytest
from caches import HubCache
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


@pytest.fixture
def cache(llm: Llm) -> HubCache:
    """The cache that `llm` sees."""
    return HubCache(llm.cache / "hub")


@pytest.fixture(scope="session")
def weights(models: Path) -> bytes:
    """A small model that `llm run` could load, licence and quantization in its header."""
    metadata = {"general.license": "apache-2.0", "general.file_type": 15}
    return ggufs.write(models / "weights.gguf", metadata=metadata).read_bytes()


@pytest.fixture(scope="session")
def shards(models: Path) -> list[bytes]:
    return [path.read_bytes() for path in ggufs.write_split(models / "split.gguf")]
