"""What every test gets: surroundings of its own, and real models to load."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import ggufs
import pytest

import lokal

# As the command does; it counts when llama.cpp is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

_OURS = ("LOKAL_", "HF_", "HUGGINGFACE_", "XDG_")


@pytest.fixture(scope="session", autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test sees the user's settings, touches the user's home, or uses the network."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(_OURS)]:
            patch.delenv(name)
        for name in ("LOKAL_CONFIG_DIR", "LOKAL_STATE_DIR", "HF_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name.lower())))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the models of the session lie; not to be written to by tests."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def llama(models: Path) -> Path:
    """A dense model of Mistral's shape, with a chat template and 4096 tokens of context."""
    return ggufs.write(models / "llama.gguf", context=4096)


@pytest.fixture(scope="session")
def mixtral(models: Path) -> Path:
    return ggufs.write(models / "mixtral.gguf", "mixtral")


@pytest.fixture(scope="session")
def grok(models: Path) -> Path:
    """A model without a chat template."""
    return ggufs.write(models / "grok.gguf", "grok", template=None)


@pytest.fixture(scope="session")
def tiny() -> Path:
    """The embedded model."""
    return Path(lokal.__file__).parent / "data" / "tiny.gguf"
