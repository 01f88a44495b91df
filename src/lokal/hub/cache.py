"""The weights on this machine: the cache that the whole Hugging Face ecosystem shares.

    ROOT/models--OWNER--REPO/refs/main                  the commit that main was at
    ROOT/models--OWNER--REPO/snapshots/COMMIT/FILE      a link into blobs/ (or a copy)
    ROOT/models--OWNER--REPO/blobs/SHA256               the file (or, from Xet, a link to it in
    ROOT/blobs/XX/XETHASH                               the store that all repositories share)
    ROOT/models--OWNER--REPO/blobs/*.incomplete         downloads under way, or interrupted
    ROOT/.locks/models--OWNER--REPO/SHA256.lock         held while a file is downloaded

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


def folders() -> list[Path]:
    """The folder of every repository in the cache that may hold models."""
    return sorted(path for path in root().glob("models--*") if path.is_dir())


def repository(folder: Path) -> str:
    """The `OWNER/REPO` whose folder that is."""
    return folder.name.removeprefix("models--").replace("--", "/")


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


def folder_of(entry: Path) -> Path | None:
    """The folder of the repository that an entry of a snapshot belongs to."""
    for path in entry.parents:
        if path.name == "snapshots" and path.parent.name.startswith("models--"):
            return path.parent
    return None


def refs(folder: Path) -> dict[str, str]:
    """The commit of every branch, tag or pinned revision that was fetched."""
    found = {}
    for parent, _, names in os.walk(folder / "refs"):
        for name in names:
            path = Path(parent, name)
            try:
                commit = path.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                continue
            found[path.relative_to(folder / "refs").as_posix()] = commit
    return found


def snapshots(folder: Path) -> list[Path]:
    """The directory of every revision."""
    return sorted(path for path in (folder / "snapshots").glob("*") if path.is_dir())


def entries(snapshot: Path) -> list[Path]:
    """Every file and link of a snapshot, broken ones too."""
    return sorted(Path(parent, name) for parent, _, names in os.walk(snapshot) for name in names)


def blob(entry: Path) -> Path | None:
    """The blob of its own repository that an entry of a snapshot links to.

    One link is followed only: the blob of a Xet download is itself a link. None for a copy, and
    for a link that somebody has made to a place outside.
    """
    if not entry.is_symlink():
        return None
    target = Path(os.path.normpath(entry.parent / entry.readlink()))
    home = folder_of(entry)
    blobs = home / "blobs" if home else entry
    return blobs / target.name if _same(target.parent, blobs) else None


def commit_of(path: Path) -> str | None:
    """The commit whose snapshot a file is in; None for a file outside the cache."""
    place = path.absolute()
    if not place.is_relative_to(root().absolute()):
        return None
    below = place.relative_to(root().absolute()).parts
    return below[2] if len(below) > 3 and below[1] == "snapshots" else None


def _same(one: Path, other: Path) -> bool:
    return one == other or os.path.realpath(one) == os.path.realpath(other)


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
