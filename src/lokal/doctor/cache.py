"""The files that lokal reads and writes: the shared cache, and what is the user's own."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from lokal import settings as surroundings
from lokal.catalog.registry import Registry
from lokal.doctor.finding import Finding, failed, failure, note, ok, warning
from lokal.errors import SpaceError, UsageError
from lokal.hub import cache
from lokal.hub.leftovers import find
from lokal.inventory import Item, downloaded
from lokal.settings import Settings

LITTLE = 10**10  # bytes of free disk that hold a model of 14B parameters
_PLACES = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")
_KINDS = {
    "partial": "interrupted downloads",
    "revision": "revisions that nothing refers to",
    "link": "broken links",
    "blob": "files that nothing refers to",
}


def check_cache() -> Iterator[Finding]:
    """Where the weights are, whether they can be read and more of them fetched."""
    root = cache.root()
    place = nearest(root)
    where = f"{root}{_because()}"
    elsewhere = "set HF_HUB_CACHE to a directory that you may write to"
    if not place.is_dir():
        yield failure("cache", f"{where}: {place} is no directory", elsewhere, UsageError.exit_code)
        return
    if not root.exists():
        if writable(place):
            yield ok("cache", f"{where} does not exist yet, the first `llm pull` makes it")
        else:
            absent = f"{where} does not exist, and cannot be made in {place}"
            yield failure("cache", absent, elsewhere, UsageError.exit_code)
        return
    if not os.access(root, os.R_OK | os.X_OK):
        yield failure("cache", f"{where} cannot be read", elsewhere, UsageError.exit_code)
        return
    if denied := list(_denied(root)):
        others = f" and {len(denied) - 1} more" if len(denied) > 1 else ""
        yield warning(
            "cache",
            f"this user may not use {denied[0]}{others}: models may seem to be missing",
            f"sudo chown -R $(id -u) {root}, or {elsewhere}",
        )
    try:
        yield from _check_content(where, elsewhere, writable(root))
    except PermissionError:
        if not denied:
            raise


def _check_content(where: str, elsewhere: str, write: bool) -> Iterator[Finding]:
    found = list(downloaded(()))
    size = sum(item.size for item in found) / 1e9
    holds = f"{where} holds {len(found)} models, {size:.1f} GB"
    if write:
        yield ok("cache", holds)
    else:
        yield warning("cache", f"{holds}, and cannot be written: nothing is fetched", elsewhere)
    yield from _check_health(found)


def _denied(root: Path) -> Iterator[Path]:
    """Folders of the cache that are closed to this user, and files that cannot be read.

    On a disk that cannot be written nothing has to be.
    """
    write = os.W_OK if writable(root) else 0
    locks = root / ".locks"
    for place in (locks, *cache.folders()):
        folders, files = [place] if place.exists() else [], []
        for parent, below, names in os.walk(place):
            folders += [Path(parent, name) for name in below]
            files += [Path(parent, name) for name in names]
        needed = os.R_OK | (write if place == locks else 0)
        yield from (path for path in folders if not os.access(path, os.R_OK | os.X_OK | write))
        yield from (path for path in files if _exists(path) and not os.access(path, needed))


def _exists(path: Path) -> bool:
    """Whether a link is not broken, as far as this user can see."""
    return os.path.exists(path)  # noqa: PTH110 - pathlib's own raises PermissionError


def _check_health(found: list[Item]) -> Iterator[Finding]:
    """What is broken or of no use, as far as it shows without hashing."""
    pruning = find()
    kinds = Counter(leftover.kind for leftover in pruning.leftovers)
    if kinds:
        counts = ", ".join(f"{count} {_KINDS[kind]}" for kind, count in sorted(kinds.items()))
        mend = "`llm prune` removes them (--dry-run shows them first)"
        text = f"{counts}; {pruning.freed / 1e9:.2f} GB of it can be freed"
        yield warning("cache", text, mend) if kinds["link"] else note("cache", text, mend)
    for item in found:
        if item.missing:
            missing = f"{item.name} lacks {item.missing} of its files"
            yield warning("cache", missing, f"`llm pull {item.name}` fetches them")
    if odd := list(_odd()):
        yield warning(
            "cache",
            f"{len(odd)} entries of snapshots are no files, such as {odd[0]}",
            "remove them, and fetch the model again with `llm pull`",
        )
    if not kinds and not odd:
        yield ok("cache", "no broken links and no leftovers (`llm verify` compares checksums)")


def _odd() -> Iterator[Path]:
    """What is neither a file nor a directory, or a link to a directory, where files belong."""
    for folder in cache.folders():
        for snapshot in cache.snapshots(folder):
            for parent, below, names in os.walk(snapshot):
                paths = [Path(parent, name) for name in (*below, *names)]
                links = (path for path in paths if path.is_dir() and path.is_symlink())
                yield from links
                yield from (p for p in paths if p.exists() and not (p.is_file() or p.is_dir()))


def check_disk() -> Iterator[Finding]:
    """Whether the disk of the cache has room for a model."""
    place = nearest(cache.root())
    usage = shutil.disk_usage(place)
    text = f"{usage.free / 1e9:.1f} of {usage.total / 1e9:.1f} GB are free in {place}"
    hint = "free some space (`llm ls`, `llm rm`, `llm prune`), or set HF_HUB_CACHE to another disk"
    if usage.free < _least():
        yield failure(
            "disk", f"{text}: too little for any model of `llm models`", hint, SpaceError.exit_code
        )
    elif usage.free < LITTLE:
        yield warning("disk", f"{text}: too little for most models", hint)
    else:
        yield ok("disk", text)


def _least() -> int:
    """Bytes of the smallest weights that lokal knows a name for."""
    fetched = [entry for entry in Registry.read().entries() if entry.repo]
    sizes = [entry.size_range[0] if entry.size_range else entry.size for entry in fetched]
    return min(size for size in sizes if size)


def check_settings(settings: Settings, check_config: Callable[[], object]) -> Iterator[Finding]:
    """The user's own files: config.toml and models.toml, and what lokal remembers.

    `check_config` raises UsageError where config.toml sets what nobody knows.
    """
    try:
        check_config()
        Registry.read(settings.overlay_path)
    except UsageError as error:
        yield failed("settings", error)
    else:
        own = [n for n in ("config.toml", "models.toml") if (settings.config_dir / n).exists()]
        files = " and ".join(own) if own else "no files of yours"
        yield ok("settings", f"{files} in {settings.config_dir}")
    state = settings.state_dir
    place = nearest(state)
    if not (place.is_dir() and writable(place)):
        yield warning(
            "settings",
            f"{state} cannot be written: neither checksums nor conversations are remembered",
            "see who may write there, or set LOKAL_STATE_DIR to another directory",
        )


def nearest(path: Path) -> Path:
    """What is there of a path: itself, or the closest of its parents."""
    return next(place for place in (path, *path.absolute().parents) if os.path.lexists(place))


def writable(directory: Path) -> bool:
    """Whether files can be made there; a disk that is mounted read-only says no to root, too."""
    return os.access(directory, os.W_OK | os.X_OK)


def _because() -> str:
    """The variable that has moved the cache, if one has."""
    found = surroundings.variables(*_PLACES)
    return f" (by {next(iter(found))})" if found else ""
