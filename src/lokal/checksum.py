"""The sha256 of weights, computed at most once per file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

SMALL = 2**26  # bytes; hashing less takes no time worth remembering
_BLOCK = 2**20  # bytes


def sha256(path: Path, state_dir: Path) -> str:
    """Hex digest of a file.

    What the cache states is believed. For other big files it is remembered in `state_dir` as long
    as size and modification time stay the same.
    """
    if known := stated(path):
        return known
    stat = path.stat()
    if stat.st_size < SMALL:
        return digest(path)
    entry = _entry(path, state_dir)
    if entry and entry[:-1] == [stat.st_size, stat.st_mtime_ns]:
        return str(entry[-1])
    computed = digest(path)
    remember(path, state_dir, computed)
    return computed


def stated(path: Path) -> str | None:
    """The sha256 that a file of the Hugging Face cache must have, if the cache tells.

    A snapshot links to a blob that carries it as its name.
    """
    # One link only: the blob of a Xet download links on to a file named by another hash.
    if not path.is_symlink():
        return None
    blob = path.readlink()
    is_blob = blob.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", blob.name)
    return blob.name if is_blob else None


def remember(path: Path, state_dir: Path, digest: str) -> None:
    """Remember the sha256 of a file as it is now."""
    memory = state_dir / "sha256.json"
    path = path.resolve()
    stat = path.stat()
    _write(memory, {**_read(memory), str(path): [stat.st_size, stat.st_mtime_ns, digest]})


def remembered(path: Path, state_dir: Path) -> str | None:
    """The sha256 that a file once had, whatever has become of it since; None if nobody knows."""
    entry = _entry(path, state_dir)
    return str(entry[-1]) if entry else None


def digest(path: Path, progress: Callable[[int], object] = lambda _done: None) -> str:
    """Hash a file; `progress` hears how many bytes are done."""
    found = hashlib.sha256()
    buffer = bytearray(_BLOCK)
    done = 0
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            found.update(memoryview(buffer)[:count])
            done += count
            progress(done)
    return found.hexdigest()


def _entry(path: Path, state_dir: Path) -> list[object] | None:
    entry = _read(state_dir / "sha256.json").get(str(path.resolve()))
    return entry if isinstance(entry, list) and len(entry) == 3 else None


def _read(memory: Path) -> dict[str, object]:
    try:
        known = json.loads(memory.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write(memory: Path, known: dict[str, object]) -> None:
    # Losing the memory costs time only, so a read-only home is no failure.
    with contextlib.suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        temporary = memory.with_name(f"{memory.name}.{os.getpid()}")
        temporary.write_text(json.dumps(known), "utf-8")
        temporary.replace(memory)
