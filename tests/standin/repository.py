"""What the stand-in has on disk, and what may be seen of it.

ROOT/OWNER/REPO/FILES            the files of main
ROOT/OWNER/REPO/.rev/NAME/FILES  another branch or tag

Settings of a repository, all optional: {"gated": "manual", "private": True, "disabled": True,
"xet": True (large files also offer the Xet protocol), "info": {...} (merged into model_info),
"sizes": {NAME: N} (lies about a size), "names": {NAME: OTHER} (lies about a name)}.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

LARGE = 10 << 20  # bytes from which on a file is LFS; every GGUF is


@dataclass(frozen=True)
class Entry:
    """A file; its digests are computed when they are first asked for."""

    path: str
    disk: Path
    size: int
    mtime: int

    @property
    def lfs(self) -> bool:
        return ".gguf" in self.path or self.size >= LARGE

    @cached_property
    def sha256(self) -> str:
        with self.disk.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @cached_property
    def oid(self) -> str:
        """Git's name for the content."""
        digest = hashlib.sha1(b"blob %d\0" % self.size)  # noqa: S324
        if self.lfs:  # nobody asks for it
            return digest.hexdigest()
        digest.update(self.disk.read_bytes())
        return digest.hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid

    @property
    def xet_hash(self) -> str:
        return hashlib.sha256(b"xet" + self.sha256.encode()).hexdigest()

    @property
    def unchanged(self) -> bool:
        try:
            stat = self.disk.stat()
        except OSError:
            return False
        return (stat.st_size, stat.st_mtime_ns) == (self.size, self.mtime)


Tree = dict[str, Entry]


class Repositories:
    """All repositories; commits that were ever seen stay valid while their files do."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, dict[str, list[str]]] = {}
        self.xorbs: dict[str, tuple[Entry, int]] = {}
        self._lock = threading.RLock()
        self._entries: dict[tuple[Path, int, int], Entry] = {}
        self._known: dict[tuple[str, str], Tree] = {}
        root.mkdir(parents=True, exist_ok=True)

    def add(self, repo: str, name: str, data: bytes, rev: str) -> Path:
        path = self._top(repo, rev) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def remove(self, repo: str) -> None:
        shutil.rmtree(self.root / repo)

    def exists(self, repo: str) -> bool:
        return "." not in repo[0] and (self.root / repo).is_dir()

    def resolve(self, repo: str, rev: str) -> tuple[str, Tree] | None:
        """The commit and the files of a branch, tag or commit."""
        with self._lock:
            for name in ["main", *self._names(repo)]:
                tree = self._scan(self._top(repo, name))
                self._known[repo, self._commit(repo, tree)] = tree
            if (repo, rev) in self._known:
                return rev, self._known[repo, rev]
            if rev != "main" and rev not in self._names(repo):
                return None
            tree = self._scan(self._top(repo, rev))
            return self._commit(repo, tree), tree

    def by_sha256(self, sha256: str) -> Entry | None:
        with self._lock:
            return next((e for e in self._entries.values() if e.sha256 == sha256), None)

    def by_xet_hash(self, xet_hash: str) -> Entry | None:
        with self._lock:
            return next((e for e in self._entries.values() if e.xet_hash == xet_hash), None)

    def _top(self, repo: str, rev: str) -> Path:
        return self.root / repo if rev == "main" else self.root / repo / ".rev" / rev

    def _names(self, repo: str) -> list[str]:
        folder = self.root / repo / ".rev"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def _scan(self, top: Path) -> Tree:
        tree = {}
        for folder, subs, names in os.walk(top):
            subs[:] = sorted(name for name in subs if not name.startswith(".rev"))
            for name in sorted(names):
                disk = Path(folder, name)
                stat = disk.stat()
                key = (disk, stat.st_size, stat.st_mtime_ns)
                path = disk.relative_to(top).as_posix()
                tree[path] = self._entries.setdefault(key, Entry(path, *key))
        return tree

    @staticmethod
    def _commit(repo: str, tree: Tree) -> str:
        digest = hashlib.sha1(repo.encode())  # noqa: S324
        for path in sorted(tree):
            digest.update(f"{path}\0{tree[path].sha256}\n".encode())
        return digest.hexdigest()
