"""The sha256 of weights, computed at most once per file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from pathlib import Path

SMALL = 2**26  # bytes; hashing less takes no time worth remembering


def sha256(path: Path, state_dir: Path) -> str:
    """Hex digest of a file.

    A snapshot of the Hugging Face cache links to a blob that carries it as its name. For other
    big files it is remembered in `state_dir` as long as size and modification time stay the same.
    """
    # One link only: the blob of a Xet download links on to a file named by another hash.
    if path.is_symlink():
        blob = path.readlink()
        if blob.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", blob.name):
            return blob.name
    path = path.resolve()
    stat = path.stat()
    if stat.st_size < SMALL:
        return _digest(path)
    memory = state_dir / "sha256.json"
    known = _read(memory)
    key = [stat.st_size, stat.st_mtime_ns]
    entry = known.get(str(path))
    if isinstance(entry, list) and entry[:-1] == key:
        return str(entry[-1])
    digest = _digest(path)
    remember(path, state_dir, digest)
    return digest


def remember(path: Path, state_dir: Path, digest: str) -> None:
    """Remember the sha256 of a file as it is now."""
    memory = state_dir / "sha256.json"
    path = path.resolve()
    stat = path.stat()
    _write(memory, {**_read(memory), str(path): [stat.st_size, stat.st_mtime_ns, digest]})


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
