"""One commit of a repository in the shared cache: what is there, and how a file gets there."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lokal.errors import SpaceError
from lokal.hub import cache
from lokal.hub.facts import is_commit
from lokal.hub.target import Digest, Target, verify

_MARGIN = 32 << 20  # bytes of the disk that stay free


@dataclass(frozen=True)
class Snapshot:
    """A commit of `OWNER/REPO`, asked for by the name of `revision`.

    `unlinked` collects files that had to be placed themselves, with the sha256 that no link tells.
    """

    repo: str
    commit: str
    revision: str
    unlinked: dict[Path, str] = field(default_factory=dict)

    @property
    def blobs(self) -> Path:
        return cache.folder(self.repo) / "blobs"

    def path(self, target: Target) -> Path:
        """Where the cache has the file, or will have it."""
        return cache.folder(self.repo) / "snapshots" / self.commit / target.name

    def partial(self, target: Target) -> Path:
        """Where its bytes are while they arrive."""
        return self.blobs / f"{target.key}.lokal.incomplete"

    def lock(self, target: Target) -> Path:
        """The file that huggingface_hub locks too while it downloads the same."""
        return cache.root() / ".locks" / cache.folder(self.repo).name / f"{target.key}.lock"

    def has(self, target: Target) -> bool:
        """Whether the file is in its place.

        What was published together with this commit only needs the right size. Anything else may
        stem from a run, ours or another tool's, that died before it checked; it is hashed.
        """
        path = self.path(target)
        try:
            if cache.commit(self.repo, self.revision) == self.commit:
                return path.stat().st_size == target.size
            return verify(target, path) is not None
        except (FileNotFoundError, NotADirectoryError):
            return False

    def adopt(self, target: Target) -> bool:
        """Put the file in its place if the cache has its bytes under another name."""
        snapshots = cache.folder(self.repo) / "snapshots"
        elsewhere = snapshots.glob("*/" + _escaped(target.name))
        for path in (self.blobs / target.key, *elsewhere):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                if digest := verify(target, path):
                    blob = self.blobs / digest.blob_name
                    self._link(target, blob if blob.exists() else path, digest)
                    return True
        return False

    def check_room(self, missing: Sequence[Target]) -> None:
        """See whether files that are to be fetched find room.

        Raises:
            SpaceError: they do not.
        """
        needed = sum(target.size - _allocated(self.partial(target)) for target in missing)
        place = next(path for path in (self.blobs, *self.blobs.parents) if path.is_dir())
        free = shutil.disk_usage(place).free
        if needed > 0 and needed + _MARGIN > free:
            raise SpaceError(
                f"{self.repo} needs {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free"
                f" in {cache.root()}",
                hint="free some space, choose a smaller quantization, or set HF_HUB_CACHE",
            )

    def place(self, target: Target, whole: Path, digest: Digest) -> None:
        """Move a verified file to its final name, and link to it from the snapshot."""
        blob = self.blobs / digest.blob_name
        with whole.open("rb+") as file:
            os.fsync(file.fileno())  # a crash of the machine must not leave the name without bytes
        self.blobs.mkdir(parents=True, exist_ok=True)
        whole.replace(blob)
        self._link(target, blob, digest)

    def publish(self) -> None:
        """Make this commit the one that offline use finds under the revision's name."""
        if is_commit(self.revision) or cache.commit(self.repo, self.revision) == self.commit:
            return
        ref = cache.folder(self.repo) / "refs" / self.revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        temporary = ref.with_name(f"{ref.name}.{os.getpid()}.tmp")
        temporary.write_text(self.commit, encoding="utf-8")
        temporary.replace(ref)

    def _link(self, target: Target, blob: Path, digest: Digest) -> None:
        """Link to a blob from the snapshot; where nothing can link, the file itself goes there."""
        path = self.path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        temporary.unlink(missing_ok=True)
        linked = _symlink(blob, temporary)
        if not linked and blob.parent == self.blobs:
            blob.replace(temporary)
        elif not linked:  # the file of another snapshot, which stays
            _copy(blob, temporary)
        temporary.replace(path)
        if not linked:
            self.unlinked[path] = digest.blob_name


def _symlink(blob: Path, link: Path) -> bool:
    from huggingface_hub import constants

    if constants.HF_HUB_DISABLE_SYMLINKS:
        return False
    try:
        link.symlink_to(os.path.relpath(blob, link.parent))
    except (OSError, NotImplementedError):  # Windows without the right, some network disks
        return False
    return True


def _copy(source: Path, copy: Path) -> None:
    try:
        os.link(source, copy)
    except OSError:
        shutil.copyfile(source, copy)


def _allocated(path: Path) -> int:
    """Bytes of the disk that a file takes; 0 if there is none."""
    try:
        stat = path.stat()
    except OSError:
        return 0
    return stat.st_blocks * 512 if hasattr(stat, "st_blocks") else stat.st_size


def _escaped(name: str) -> str:
    """A file name that stands for itself in a glob."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)
