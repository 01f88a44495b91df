"""What interrupted downloads and updates leave behind in the cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lokal.hub import cache
from lokal.hub.locks import held
from lokal.hub.removal import Removal, execute, plan

Kind = Literal["partial", "revision", "link", "blob"]


@dataclass(frozen=True)
class Leftover:
    """One thing that nobody can use; `kind` says why.

    partial   an interrupted download
    revision  a commit that no branch, tag or pin refers to any more
    link      an entry of a snapshot that points to nothing
    blob      a file that no snapshot refers to
    """

    kind: Kind
    repo: str
    path: Path


@dataclass(frozen=True)
class Pruning:
    """Leftovers of all repositories, and how they go; `busy` repositories are left alone.

    `freed` is in bytes.
    """

    leftovers: tuple[Leftover, ...]
    removals: tuple[Removal, ...]
    busy: tuple[str, ...]

    @property
    def freed(self) -> int:
        return sum(removal.freed for removal in self.removals)


def find() -> Pruning:
    """Look through the repositories that hold GGUF files, or nothing but leftovers.

    A repository in which a download is under way is left alone: between two files of a split
    model, the first is there, and no ref points to it yet.
    """
    leftovers: list[Leftover] = []
    removals: list[Removal] = []
    busy: list[str] = []
    for folder in cache.folders():
        found = list(_leftovers(folder)) if _is_ours(folder) else []
        if not found:
            continue
        with held(folder) as free:
            if not free:
                busy.append(cache.repository(folder))
                continue
        leftovers += found
        removals.append(_plan(folder, found))
    return Pruning(tuple(leftovers), tuple(removals), tuple(busy))


def remove(pruning: Pruning) -> None:
    """Remove what was found.

    Raises:
        UsageError: a download has begun in the meantime, or the cache cannot be written.
    """
    for removal in pruning.removals:
        execute(removal, whole=True)


def _is_ours(folder: Path) -> bool:
    names = [path.name for snapshot in cache.snapshots(folder) for path in cache.entries(snapshot)]
    return not names or any(name.lower().endswith(".gguf") for name in names)


def _leftovers(folder: Path) -> Iterator[Leftover]:
    repo = cache.repository(folder)
    named = set(cache.refs(folder).values())
    used = set()
    for snapshot in cache.snapshots(folder):
        if snapshot.name not in named:
            yield Leftover("revision", repo, snapshot)
        for entry in cache.entries(snapshot):
            used.add(cache.blob(entry))
            if snapshot.name in named and not entry.exists():
                yield Leftover("link", repo, entry)
    # Where our own transfer lets the library work, beside the cache.
    for path in cache.entries(folder / "lokal.staging"):
        yield Leftover("partial", repo, path)
    for blob in sorted((folder / "blobs").glob("*")):
        if blob.name.endswith(".incomplete"):
            yield Leftover("partial", repo, blob)
        elif blob not in used:
            yield Leftover("blob", repo, blob)


def _plan(folder: Path, found: list[Leftover]) -> Removal:
    entries = [leftover.path for leftover in found if leftover.kind == "link"]
    for leftover in found:
        if leftover.kind == "revision":
            entries += cache.entries(leftover.path)
    loose = [leftover.path for leftover in found if leftover.kind in ("partial", "blob")]
    return plan(folder, entries, loose)
