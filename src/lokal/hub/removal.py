"""Taking files out of the cache, and nothing else with them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lokal.errors import UsageError
from lokal.hub import cache
from lokal.hub.locks import held


@dataclass(frozen=True)
class Removal:
    """What goes out of one repository's folder, as decided by `plan`.

    `entries` are files and links of snapshots. `blobs` are what then nobody needs, partials
    included. `freed` is in bytes: what other revisions or repositories share stays.
    """

    folder: Path
    entries: tuple[Path, ...]
    blobs: tuple[Path, ...]
    freed: int


def plan(folder: Path, entries: Collection[Path], loose: Collection[Path] = ()) -> Removal:
    """Decide what goes with entries of snapshots; `loose` blobs or partials go as well."""
    going = set(entries)
    kept = {
        cache.blob(entry)
        for snapshot in cache.snapshots(folder)
        for entry in cache.entries(snapshot)
        if entry not in going
    }
    linked = {blob for entry in entries if (blob := cache.blob(entry))}
    blobs = {path for path in (linked - kept) | set(loose) if os.path.lexists(path)}
    copies = sum(entry.lstat().st_size for entry in going if not entry.is_symlink())
    freed = copies + _freed_by(blobs)
    return Removal(folder, tuple(sorted(going)), tuple(sorted(blobs)), freed)


def execute(removal: Removal, *, whole: bool = False) -> None:
    """Remove: links first, so that none ever points to nothing; blobs; what is empty then.

    Nobody may be downloading one of the blobs, or, if `whole`, anything of the repository.

    Raises:
        UsageError: somebody does, or the cache cannot be written.
    """
    with _removing(removal.folder, None if whole else removal.blobs):
        for entry in removal.entries:
            entry.unlink(missing_ok=True)
        _remove_blobs(removal.blobs)
        _tidy(removal.folder)


def discard(entry: Path) -> None:
    """Remove the damaged bytes behind an entry of a snapshot.

    Links to them stay, in every revision that has them: the same bytes, fetched again, make them
    whole. What Xet downloads of other repositories share is damaged for all of them, and goes too.

    Raises:
        UsageError: the file is being downloaded right now, or the cache cannot be written.
    """
    blob = cache.blob(entry) or entry
    with _removing(cache.folder_of(entry) or entry.parent, [blob]):
        payload = _payload(blob)
        blob.unlink()
        if payload:
            payload.unlink(missing_ok=True)


@contextlib.contextmanager
def _removing(folder: Path, blobs: Collection[Path] | None) -> Iterator[None]:
    repo = cache.repository(folder)
    with held(folder, blobs) as free:
        if not free:
            raise UsageError(
                f"{repo} is being downloaded right now", hint="wait until that is done, or stop it"
            )
        try:
            yield
        except OSError as error:
            raise UsageError(
                f"cannot remove {error.filename or repo}: {error.strerror}",
                hint="see who may write there, and run the same command again",
            ) from None


def _freed_by(blobs: Collection[Path]) -> int:
    """Bytes that blobs free; one in the store of Xet downloads only with its last link."""
    payloads = {payload for blob in blobs if (payload := _payload(blob))}
    if payloads:
        others = (path for path in cache.root().glob("*/blobs/*") if path not in blobs)
        payloads -= {_payload(path) for path in others}
    plain = sum(_on_disk(blob) for blob in blobs if not _payload(blob))
    return plain + sum(payload.stat().st_size for payload in payloads if payload.exists())


def _on_disk(blob: Path) -> int:
    """Bytes that a file takes: a partial one has holes where nothing has arrived yet."""
    stat = blob.lstat()
    blocks = getattr(stat, "st_blocks", None)  # of 512 bytes; unknown on Windows
    return stat.st_size if blocks is None else min(stat.st_size, blocks * 512)


def _payload(blob: Path) -> Path | None:
    """What the blob of a Xet download links to, ROOT/blobs/XX/XETHASH."""
    if not blob.is_symlink():
        return None
    target = Path(os.path.normpath(blob.parent / blob.readlink()))
    is_stored = re.fullmatch(r"blobs/[0-9a-f]{2}/[0-9a-f]{64}", "/".join(target.parts[-3:]))
    return target if is_stored else None


def _remove_blobs(blobs: Iterable[Path]) -> None:
    shared = frozenset(blob for blob in blobs if _payload(blob))
    for blob in blobs:
        if blob not in shared:
            blob.unlink(missing_ok=True)
    if not shared:
        return
    # The library keeps the books of its shared store; its own removal keeps them right.
    from huggingface_hub import DeleteCacheStrategy

    nothing: frozenset[Path] = frozenset()
    DeleteCacheStrategy(0, shared, nothing, nothing, nothing, cache_dir=cache.root()).execute()
    for blob in shared:
        if os.path.lexists(blob):
            blob.unlink()


def _tidy(folder: Path) -> None:
    """Remove what is empty now, and the refs that would point to nothing."""
    before = {snapshot.name for snapshot in cache.snapshots(folder)}
    _remove_empty(folder / "snapshots")
    gone = before - {snapshot.name for snapshot in cache.snapshots(folder)}
    for commit in gone:
        # What the library knows to be absent from that revision: empty files.
        for entry in cache.entries(folder / ".no_exist" / commit):
            entry.unlink()
    for name, commit in cache.refs(folder).items():
        if commit in gone:
            (folder / "refs" / name).unlink()
    _remove_empty(folder)


def _remove_empty(directory: Path) -> None:
    """Remove every empty directory from there downwards, and then itself if it is empty."""
    for parent, _, _ in os.walk(directory, topdown=False):
        with contextlib.suppress(OSError):  # it is not empty
            Path(parent).rmdir()
