"""Checksums: right, and computed once."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from caches import HubCache

from lokal import checksum


@pytest.fixture(autouse=True)
def _every_file_is_big(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksum, "SMALL", 4)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"weights")
    return path


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on a file that is read fails the test."""
    monkeypatch.setattr(checksum, "digest", None)


def test_it_is_the_sha256(file: Path, tmp_path: Path) -> None:
    """As `sha256sum` prints it."""
    assert checksum.sha256(file, tmp_path / "state") == digest(b"weights")


def test_it_is_remembered(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several files, each its own; a link is the file it leads to."""
    other, link = tmp_path / "y.gguf", tmp_path / "link.gguf"
    other.write_bytes(b"others")
    link.symlink_to(file)
    for path in (file, other):
        checksum.sha256(path, tmp_path / "state")
    forbid(monkeypatch)
    assert checksum.sha256(file, tmp_path / "state") == digest(b"weights")
    assert checksum.sha256(other, tmp_path / "state") == digest(b"others")
    assert checksum.sha256(link, tmp_path / "state") == digest(b"weights")


@pytest.mark.parametrize("data", [b"Weights", b"weights and more"])
def test_a_changed_file_is_read_again(file: Path, tmp_path: Path, data: bytes) -> None:
    """Its size or its modification time tells."""
    checksum.sha256(file, tmp_path / "state")
    before = file.stat()
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + (len(data) == before.st_size)))
    assert checksum.sha256(file, tmp_path / "state") == digest(data)


def test_a_small_file_is_not_worth_remembering(tmp_path: Path) -> None:
    """Nothing is written for it."""
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert checksum.sha256(path, tmp_path / "state") == digest(b"abc")
    assert not (tmp_path / "state").exists()


def test_a_blob_of_the_cache_carries_it_as_its_name(tmp_path: Path) -> None:
    """A snapshot links to blobs/<sha256>, which was checked when it came."""
    blob, link = tmp_path / "blobs" / ("a" * 64), tmp_path / "x.gguf"
    blob.parent.mkdir()
    blob.write_bytes(b"weights")
    link.symlink_to(blob)
    assert checksum.sha256(link, tmp_path / "state") == "a" * 64


def test_a_file_that_merely_looks_like_a_blob_is_read(tmp_path: Path) -> None:
    """A name proves nothing outside the cache."""
    path = tmp_path / ("a" * 64)
    path.write_bytes(b"weights")
    assert checksum.sha256(path, tmp_path / "state") == digest(b"weights")


@pytest.mark.parametrize(
    "memory", ["", "[]", "{", '{"PATH": []}', '{"PATH": "x"}', '{"PATH": [1, 2, "x"]}', "\udcff"]
)
def test_a_spoilt_memory_is_no_failure(file: Path, tmp_path: Path, memory: str) -> None:
    """It costs time, and is mended."""
    state = tmp_path / "state"
    state.mkdir()
    data = memory.replace("PATH", str(file)).encode("utf-8", "surrogateescape")
    (state / "sha256.json").write_bytes(data)
    assert checksum.sha256(file, state) == digest(b"weights")
    assert json.loads((state / "sha256.json").read_text())[str(file)][-1] == digest(b"weights")


def test_a_state_directory_that_cannot_be_written_is_no_failure(file: Path, tmp_path: Path) -> None:
    """A read-only home still gets its checksum."""
    (tmp_path / "state").write_text("a file in the way")
    assert checksum.sha256(file, tmp_path / "state") == digest(b"weights")


def test_only_a_blob_is_believed_by_its_name(tmp_path: Path) -> None:
    """A link to some file that happens to be named like a digest says nothing of its content."""
    target, link = tmp_path / ("0" * 64), tmp_path / "link.gguf"
    target.write_bytes(b"weights")
    link.symlink_to(target)
    assert checksum.sha256(link, tmp_path / "state") == digest(b"weights")


def test_what_xet_brought_is_called_by_another_hash(tmp_path: Path) -> None:
    """There the blob, which has the sha256 for a name, is itself a link."""
    path = HubCache(tmp_path / "hub").put("me/x", "sub/x.gguf", b"weights", xet=True)
    assert checksum.stated(path) == digest(b"weights") != path.resolve().name


def test_what_was_remembered_outlives_the_change(file: Path, tmp_path: Path) -> None:
    """So that damage can be told from a new file."""
    assert checksum.remembered(file, tmp_path / "state") is None
    checksum.sha256(file, tmp_path / "state")
    file.write_bytes(b"changed")
    assert checksum.remembered(file, tmp_path / "state") == digest(b"weights")


def test_progress_is_in_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(bytes(3 * 2**20 + 5))
    seen: list[int] = []
    assert checksum.digest(path, seen.append) == digest(bytes(3 * 2**20 + 5))
    assert seen == [2**20, 2 * 2**20, 3 * 2**20, 3 * 2**20 + 5]
