"""What is on this machine: what is built in, the user's own files, the shared cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lokal import gguf
from lokal.catalog import quants
from lokal.catalog.entry import Entry
from lokal.catalog.registry import Registry
from lokal.errors import LokalError, ModelNameError
from lokal.hub import cache
from lokal.hub.cache import CachedModel
from lokal.settings import Settings
from lokal.weights import Source, find, local_path


@dataclass(frozen=True)
class Item:
    """The weights of one model: a file, or all shards of a split one.

    `name` is what `llm run` takes: a name of the registry with its quantization, hf.co/..., or
    the path where the revision is not the one that main is at. `size` is in bytes, `last_used` in
    epoch seconds, `path` that of the first file. What does not run is here too, to be verified
    and removed: a set with `missing` shards, and a projector, which is no `model`.
    """

    name: str
    quantization: str | None
    size: int
    license: str | None
    last_used: float
    path: Path
    files: tuple[Path, ...]
    missing: int = 0
    model: bool = True
    repo: str | None = None
    commit: str | None = None
    entry: Entry | None = None

    @property
    def runs(self) -> bool:
        return self.model and not self.missing


def inventory(settings: Settings) -> list[Item]:
    """Every model here, those that no repository has first.

    Raises:
        UsageError: the user's registry is invalid.
    """
    entries = list(Registry.load(settings).entries())
    return [*_own(entries), *(_with_header(item) for item in _cached(entries))]


def downloaded(entries: Sequence[Entry]) -> Iterator[Item]:
    """What the cache has, without a look into the files: only the registry's word on them."""
    return _cached(entries)


def of_repository(repo: str, settings: Settings) -> list[Item]:
    """What the cache has of a repository, as `downloaded` tells it."""
    found = downloaded(list(Registry.load(settings).entries()))
    return [item for item in found if item.repo == repo]


def select(found: Sequence[Item], text: str, settings: Settings) -> list[Item]:
    """What a model's name means among those found; OWNER/REPO means all of that repository.

    Raises:
        ModelNameError: no such model, or nothing of it is here.
        UsageError: the user's registry is invalid.
    """
    source = find(text, settings)
    name = canonical(source)
    chosen = [item for item in found if name in (item.name.lower(), f"hf.co/{item.repo}".lower())]
    if not chosen and (path := local_path(source, settings)):
        chosen = [item for item in found if _place(path) in map(_place, item.files)]
    if not chosen:
        siblings = [item.name for item in found if item.repo and item.repo == _repo(source)]
        hint = f"here are {', '.join(siblings)}" if siblings else "`llm ls` lists what is here"
        raise ModelNameError(f"{source.name} is not on this machine", hint=hint)
    return chosen


def canonical(source: Source) -> str:
    """The name that an item of that source has, in lower case."""
    if source.entry is None or source.entry.repo is None:
        return source.name.lower()
    return f"{source.entry.ref}@{source.selector or source.entry.quant}".lower()


def _repo(source: Source) -> str | None:
    return source.remote.repo if isinstance(source.remote, Entry) else source.remote


def _place(path: Path) -> Path:
    """A path to compare: links on the way are resolved, the last one is not."""
    return path.parent.resolve() / path.name


def _own(entries: Sequence[Entry]) -> Iterator[Item]:
    for entry in entries:
        path = entry.embedded_path()
        if path is None or not path.is_file():
            continue
        stat = path.stat()
        used = max(stat.st_atime, stat.st_mtime)
        item = Item(
            entry.ref, entry.quant, stat.st_size, entry.license.id, used, path, (path,), entry=entry
        )
        yield item if entry.embedded else _with_header(item)


def _cached(entries: Sequence[Entry]) -> Iterator[Item]:
    """Sets of weights in the cache; the same blobs in several revisions count once."""
    by_revision: dict[tuple[str, str], dict[str, CachedModel]] = {}
    for model in cache.cached():
        by_revision.setdefault((model.repo, model.commit), {})[model.file] = model
    main = {repo: cache.commit(repo) for repo, _ in by_revision}
    seen: set[tuple[object, ...]] = set()
    # What main is at comes first, because it has the name.
    for repo, commit in sorted(by_revision, key=lambda key: (key[0], key[1] != main[key[0]], key)):
        models = by_revision[repo, commit]
        for weights, is_model in _sets(models):
            files = [models[name] for name in weights.files]
            blobs = (repo, *(cache.blob(model.path) or model.path for model in files))
            if blobs in seen:
                continue
            seen.add(blobs)
            named = commit == main[repo]
            item = _item(weights, files, [e for e in entries if e.repo == repo] if named else None)
            yield replace(item, model=is_model)


def _sets(names: Mapping[str, CachedModel]) -> Iterator[tuple[quants.Weights, bool]]:
    """Weights, and after them the GGUF files that are none, such as projectors."""
    sets = quants.group(names)
    grouped = {name for weights in sets for name in weights.files}
    for weights in sets:
        yield weights, True
    for name in names:
        if name not in grouped:
            yield quants.Weights(name[: -len(".gguf")], (name,), 1), False


def _item(weights: quants.Weights, files: list[CachedModel], entries: list[Entry] | None) -> Item:
    """`entries` are those of the repository; None: the revision has no name."""
    first = files[0]
    item = Item(
        name=f"hf.co/{first.repo}:{weights.name}",
        quantization=None,
        size=sum(file.size for file in files),
        license=None,
        last_used=max(file.last_used for file in files),
        path=first.path,
        files=tuple(file.path for file in files),
        missing=weights.expected - len(files),
        repo=first.repo,
        commit=first.commit,
    )
    if entries is None:
        return replace(item, name=str(first.path))
    for entry in entries:
        if quant := entry.quant_of(weights.name):
            # The registry's word on the licence was checked by people.
            name, license_ = f"{entry.ref}@{quant}", entry.license.id
            return replace(item, name=name, quantization=quant, license=license_, entry=entry)
    return item


def _with_header(item: Item) -> Item:
    """Quantization and licence as the file states them; a damaged file states nothing."""
    try:
        header = gguf.read(item.path)
    except LokalError:
        return item
    license_ = item.license or header.license
    return replace(item, quantization=header.quantization, license=license_)
