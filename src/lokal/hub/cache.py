"""The weights on this machine: the cache that the whole Hugging Face ecosystem shares.

    ROOT/models--OWNER--REPO/refs/main                  the commit that main was at
    ROOT/models--OWNER--REPO/snapshots/COMMIT/FILE      a link into blobs/ (or a copy)

Nothing here imports huggingface_hub, which takes 0.2 s, and nothing here touches the network.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CachedModel:
    """One GGUF file in the cache; `size` in bytes, `last_used` in seconds since the epoch."""

    repo: str
    file: str
    commit: str
    size: int
    path: Path
    last_used: float


def root() -> Path:
    """The cache directory, found as huggingface_hub finds it (its constants.py).

    Read here and not by settings, because the library reads the same variables on its own.
    """
    env = os.environ
    home = env.get("HF_HOME", f"{env.get('XDG_CACHE_HOME', '~/.cache')}/huggingface")
    cache = env.get("HF_HUB_CACHE", env.get("HUGGINGFACE_HUB_CACHE", f"{home}/hub"))
    return Path(os.path.expandvars(cache)).expanduser()


def folder(repo: str) -> Path:
    """Where the cache keeps a repository, `OWNER/REPO`."""
    return root() / f"models--{repo.replace('/', '--')}"


def commit(repo: str, revision: str = "main") -> str | None:
    """The commit that a branch or tag was at when it was last fetched whole."""
    try:
        return (folder(repo) / "refs" / revision).read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def files(snapshot: Path) -> Iterator[tuple[str, Path]]:
    """Names (as on the Hub) and paths of what a snapshot really holds: no broken links."""
    for parent, _, names in os.walk(snapshot):
        for name in names:
            path = Path(parent, name)
            if path.is_file():
                yield path.relative_to(snapshot).as_posix(), path


def cached() -> list[CachedModel]:
    """Every GGUF file in the cache, sorted by repository, file and commit."""
    found = []
    for snapshot in root().glob("models--*/snapshots/*"):
        repo = snapshot.parts[-3].removeprefix("models--").replace("--", "/")
        for name, path in files(snapshot):
            if not name.lower().endswith(".gguf"):
                continue
            try:
                stat = path.stat()
            except OSError:
                continue  # removed since the walk
            used = max(stat.st_atime, stat.st_mtime)  # many systems do not keep st_atime
            found.append(CachedModel(repo, name, snapshot.name, stat.st_size, path, used))
    return sorted(found, key=lambda model: (model.repo, model.file, model.commit))
