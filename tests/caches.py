"""Builds a Hugging Face cache on disk, file by file, as the library lays it out.

cache = HubCache(root)
link = cache.put("owner/repo", "x-Q4_K_M.gguf", b"...")       # blob, snapshot link, refs/main
cache.put("owner/repo", "x.gguf", b"...", commit=OLD, ref=None)
cache.put("owner/repo", "x.gguf", b"...", xet=True)           # the blob links to ROOT/blobs
cache.put("owner/repo", "x.gguf", b"...", copy=True)          # as on Windows: no link
cache.partial("owner/repo", "ab" * 32)
with cache.locked("owner/repo", "ab" * 32): ...               # as a running download
cache.is_sound()                                              # in the eyes of the library
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock
from huggingface_hub import scan_cache_dir

COMMIT, OLD = "c" * 40, "b" * 40


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class HubCache:
    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def folder(self, repo: str) -> Path:
        return self.root / f"models--{repo.replace('/', '--')}"

    def put(
        self,
        repo: str,
        file: str,
        data: bytes,
        *,
        commit: str = COMMIT,
        ref: str | None = "main",
        xet: bool = False,
        copy: bool = False,
    ) -> Path:
        """Store a file; returns its place in the snapshot."""
        folder = self.folder(repo)
        entry = folder / "snapshots" / commit / file
        entry.parent.mkdir(parents=True, exist_ok=True)
        if ref:
            path = folder / "refs" / ref
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(commit)
        if copy:
            entry.write_bytes(data)
            return entry
        blob = folder / "blobs" / sha256(data)
        blob.parent.mkdir(exist_ok=True)
        if xet and not blob.exists():
            self._share(blob, data)
        elif not blob.exists():
            blob.write_bytes(data)
        entry.symlink_to(os.path.relpath(blob, entry.parent))
        return entry

    def _share(self, blob: Path, data: bytes) -> None:
        """The library's store of Xet downloads: payload, manifest of links, marker."""
        name = sha256(b"xet" + data)
        payload = self.root / "blobs" / name[:2] / name
        payload.parent.mkdir(parents=True, exist_ok=True)
        (self.root / "blobs" / ".huggingface-shared-blobs").write_text("1\n")
        payload.write_bytes(data)
        with payload.with_name(f"{name}.refs").open("a") as manifest:
            manifest.write(f"{blob.relative_to(self.root).as_posix()}\n")
        blob.symlink_to(os.path.relpath(payload, blob.parent))

    def partial(self, repo: str, name: str, data: bytes = b"part", kind: str = "1a2b") -> Path:
        path = self.folder(repo) / "blobs" / f"{name}.{kind}.incomplete"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    @contextlib.contextmanager
    def locked(self, repo: str, name: str) -> Iterator[None]:
        directory = self.root / ".locks" / self.folder(repo).name
        directory.mkdir(parents=True, exist_ok=True)
        with FileLock(directory / f"{name}.lock"):
            yield

    def files(self) -> list[str]:
        """Everything that is no directory and no lock, by path below the root."""
        found = (path for path in self.root.rglob("*") if path.is_symlink() or path.is_file())
        names = (path.relative_to(self.root).as_posix() for path in found)
        return sorted(name for name in names if not name.endswith(".lock"))

    def is_sound(self) -> bool:
        """Whether the library finds nothing to complain of, and so shows every repository."""
        return not scan_cache_dir(self.root).warnings
