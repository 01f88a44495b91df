"""The files of one commit of a repository, on their way into the cache."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lokal.errors import IntegrityError, SpaceError
from lokal.hub import cache

_MARGIN = 32 * 2**20  # bytes of the disk that stay free


@dataclass(frozen=True)
class File:
    """What the Hub says about a file; it knows no sha256 of small ones. `size` in bytes."""

    name: str
    size: int | None
    sha256: str | None


@dataclass(frozen=True)
class Snapshot:
    """A commit of `OWNER/REPO`, and those of its files that are wanted."""

    repo: str
    commit: str
    files: Sequence[File]

    def path(self, file: File) -> Path:
        """Where the cache has the file, or will have it."""
        return cache.folder(self.repo) / "snapshots" / self.commit / file.name

    def missing(self) -> list[File]:
        """The files that are not here; damaged ones are removed and count as missing.

        Before the commit is published, a file may stem from a run that died before its check.
        """
        published = cache.commit(self.repo) == self.commit
        missing = []
        for file in self.files:
            try:
                self.check(file, thorough=not published)
            except (FileNotFoundError, NotADirectoryError, IntegrityError):
                missing.append(file)
        return missing

    def check(self, file: File, *, thorough: bool = True) -> None:
        """Compare a file with what the Hub says; one that differs is removed.

        Raises:
            IntegrityError: the size is wrong, or (if `thorough`) the sha256.
            FileNotFoundError: the file is not there.
        """
        path = self.path(file)
        size = path.stat().st_size
        if file.size is not None and size != file.size:
            _remove(path)
            raise _damaged(file, f"{size} bytes instead of {file.size}")
        if thorough and file.sha256 is not None:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            if digest != file.sha256:
                _remove(path)
                raise _damaged(file, "its sha256 is wrong")

    def check_room(self, files: Sequence[File]) -> None:
        """See whether files that are to be fetched find room.

        Raises:
            SpaceError: they do not.
        """
        blobs = cache.folder(self.repo) / "blobs"
        needed = sum(
            file.size or 0 for file in files if not (blobs / (file.sha256 or file.name)).is_file()
        )
        place = next(path for path in (blobs, *blobs.parents) if path.is_dir())
        free = shutil.disk_usage(place).free
        if needed and needed + _MARGIN > free:
            raise SpaceError(
                f"{self.repo} needs {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free"
                f" in {cache.root()}",
                hint="free some space, choose a smaller quantization, or set HF_HUB_CACHE",
            )

    def publish(self) -> None:
        """Make this commit the one that offline use finds."""
        if cache.commit(self.repo) == self.commit:
            return
        ref = cache.folder(self.repo) / "refs" / "main"
        ref.parent.mkdir(parents=True, exist_ok=True)
        temporary = ref.with_name(f"main.{os.getpid()}.tmp")
        temporary.write_text(self.commit, encoding="utf-8")
        temporary.replace(ref)


def _remove(path: Path) -> None:
    """Remove a file of the cache and the blob that it links to, in one step or two."""
    while path.is_symlink():
        target = path.parent / path.readlink()
        path.unlink()
        path = target
    path.unlink(missing_ok=True)


def _damaged(file: File, problem: str) -> IntegrityError:
    return IntegrityError(
        f"{file.name} arrived damaged: {problem}",
        hint="it was removed; run the same command again, on another network if this repeats",
    )
