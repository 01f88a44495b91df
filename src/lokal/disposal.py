"""Taking models off this machine: what a name means turned into files that go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lokal.catalog.refs import RepoRef, parse
from lokal.errors import ModelNameError, UsageError
from lokal.hub import cache
from lokal.hub.removal import Removal, execute, plan
from lokal.inventory import Item, inventory, select
from lokal.settings import Settings
from lokal.weights import find


@dataclass(frozen=True)
class Disposal:
    """The models that go, by name, and how; `freed` is in bytes.

    It is less than the sizes of the models where other revisions share their bytes.
    """

    names: tuple[str, ...]
    removals: tuple[Removal, ...]

    @property
    def freed(self) -> int:
        return sum(removal.freed for removal in self.removals)


def plan_disposal(texts: Sequence[str], settings: Settings) -> Disposal:
    """Decide what goes; nothing is touched.

    Raises:
        ModelNameError: no such model, or nothing of it is here.
        UsageError: a model that lies outside the cache.
    """
    found = inventory(settings)
    names: dict[str, None] = {}
    # By folder, because two models of one repository may share what neither alone would free.
    entries: dict[Path, set[Path]] = {}
    loose: dict[Path, set[Path]] = {}
    for text in texts:
        for name, folder, going, blobs in _meant(text, found, settings):
            names[name] = None
            entries.setdefault(folder, set()).update(going)
            loose.setdefault(folder, set()).update(blobs)
    removals = (plan(folder, going, loose[folder]) for folder, going in entries.items())
    return Disposal(tuple(names), tuple(removals))


def dispose(disposal: Disposal) -> None:
    """Remove it.

    Raises:
        UsageError: something of it is being downloaded, or the cache cannot be written.
    """
    for removal in disposal.removals:
        execute(removal)


def _meant(
    text: str, found: Sequence[Item], settings: Settings
) -> Iterator[tuple[str, Path, Sequence[Path], Sequence[Path]]]:
    """Name, repository folder, entries of snapshots and loose blobs that go."""
    ref = parse(text)
    if isinstance(ref, RepoRef) and ref.selector is None and cache.folder(ref.repo).is_dir():
        folder = cache.folder(ref.repo)
        everything = [entry for s in cache.snapshots(folder) for entry in cache.entries(s)]
        loose = [*(folder / "blobs").glob("*"), *cache.entries(folder / "lokal.staging")]
        yield str(ref), folder, everything, loose
        return
    _refuse_outside(text, settings)
    try:
        items = select(found, text, settings)
    except ModelNameError:
        folder, partials = _partials(text, settings)
        if not partials:
            raise
        yield f"{text} (interrupted download)", folder, [], partials
        return
    for item in items:
        if item.repo and item.commit:
            yield item.name, *_of(item, item.repo, item.commit)


def _partials(text: str, settings: Settings) -> tuple[Path, list[Path]]:
    """What an interrupted download of a model that is not here has left in its repository."""
    source = find(text, settings)
    repo = source.remote if isinstance(source.remote, str) else source.remote.repo
    folder = cache.folder(repo or "")
    return folder, sorted((folder / "blobs").glob("*.incomplete")) if repo else []


def _refuse_outside(text: str, settings: Settings) -> None:
    source = find(text, settings)
    if source.entry and source.entry.embedded:
        raise UsageError(
            f"{source.name} is part of lokal itself", hint="it goes when lokal is uninstalled"
        )
    if source.path and cache.commit_of(source.path) is None:
        raise UsageError(
            f"{source.path} does not lie in the cache",
            hint="llm rm removes what lies in the cache; that file is yours to delete",
        )


def _of(item: Item, repo: str, commit: str) -> tuple[Path, list[Path], list[Path]]:
    """Repository folder, entries of snapshots and partials that go with an item of the cache."""
    folder = cache.folder(repo)
    own = folder / "snapshots" / commit
    names = [path.relative_to(own) for path in item.files]
    revisions = [own]
    if commit == cache.commit(repo):
        # A revision that no ref points to has the file from before an update: nobody would ever
        # ask for it again, and its bytes would stay.
        kept = set(cache.refs(folder).values())
        revisions += [path for path in cache.snapshots(folder) if path.name not in kept]
    entries = [revision / name for revision in revisions for name in names]
    entries = [entry for entry in entries if entry.is_symlink() or entry.exists()]
    blobs = [blob for entry in entries if (blob := cache.blob(entry))]
    partials = [path for blob in blobs for path in blob.parent.glob(f"{blob.name}.*incomplete")]
    return folder, entries, partials
