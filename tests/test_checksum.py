"""The sha256 of weights: from the cache's own names, remembered, or computed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from caches import HubCache, sha256

from lokal import checksum

DATA = b"weights" * 1000


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.mark.parametrize("xet", [False, True])
def test_the_cache_states_it(tmp_path: Path, state: Path, xet: bool) -> None:
    """The name of the blob is the sha256; what Xet links it to is called by another hash."""
    path = HubCache(tmp_path / "hub").put("me/x", "sub/x.gguf", DATA, xet=xet)
    path.resolve().write_bytes(b"what it holds is not read")
    assert checksum.sha256(path, state) == sha256(DATA)


def test_a_link_outside_the_cache_states_nothing(tmp_path: Path, state: Path) -> None:
    real = tmp_path / ("0" * 64)
    real.write_bytes(DATA)
    link = tmp_path / "x.gguf"
    link.symlink_to(real)
    assert checksum.sha256(link, state) == sha256(DATA)


def test_a_big_file_is_hashed_once(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksum, "SMALL", 10)
    path = tmp_path / "x.gguf"
    path.write_bytes(DATA)
    assert checksum.sha256(path, state) == sha256(DATA)
    before = path.stat()
    path.write_bytes(DATA[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert checksum.sha256(path, state) == sha256(DATA)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert checksum.sha256(path, state) == sha256(DATA[::-1])


def test_what_was_remembered_outlives_the_change(tmp_path: Path, state: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(DATA)
    assert checksum.remembered(path, state) is None
    checksum.remember(path, state, "abc")
    path.write_bytes(b"changed")
    assert checksum.remembered(path, state) == "abc"


def test_progress_is_in_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(bytes(3 * 2**20 + 5))
    seen: list[int] = []
    assert checksum.digest(path, seen.append) == sha256(bytes(3 * 2**20 + 5))
    assert seen == [2**20, 2 * 2**20, 3 * 2**20, 3 * 2**20 + 5]
