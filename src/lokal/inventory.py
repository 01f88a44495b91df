"""What is on this machine: the embedded model, and all weights in the shared cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lokal import gguf
from lokal.catalog.entry import Entry
from lokal.catalog.quants import group
from lokal.catalog.registry import Registry
from lokal.errors import LokalError
from lokal.hub.cache import CachedModel, cached, commit
from lokal.settings import Settings


@dataclass(frozen=True)
class Item:
    """One set of weights; `name` is what `llm run` takes, `path` its first file.

    `size` is in bytes, `last_used` in seconds since the epoch.
    """

    name: str
    quantization: str | None
    size: int
    license: str | None
    last_used: float
    path: Path


def inventory(settings: Settings) -> list[Item]:
    """Every model here, the embedded ones first.

    Raises:
        UsageError: the user's registry is invalid.
    """
    entries = list(Registry.load(settings).entries())
    embedded = [(entry, path) for entry in entries if (path := entry.embedded_path())]
    here = [_embedded(entry, path) for entry, path in embedded]
    for name, files in _cached():
        first = files[0]
        # The registry's word on the licence was checked by people; the file's own comes second.
        known = next((entry.license.id for entry in entries if entry.repo == first.repo), None)
        quantization, license_ = _header(first.path)
        size, last_used = sum(f.size for f in files), max(f.last_used for f in files)
        here.append(Item(name, quantization, size, known or license_, last_used, first.path))
    return here


def _cached() -> Iterator[tuple[str, list[CachedModel]]]:
    """Names and files of every complete set of weights in the cache."""
    snapshots: dict[tuple[str, str], dict[str, CachedModel]] = {}
    for model in cached():
        snapshots.setdefault((model.repo, model.commit), {})[model.file] = model
    for (repo, snapshot), models in snapshots.items():
        for weights in group(models):
            if not weights.complete:
                continue
            files = [models[file] for file in weights.files]
            # A repository's name means its newest commit; what is older goes by its path.
            current = commit(repo) == snapshot
            yield f"hf.co/{repo}:{weights.name}" if current else str(files[0].path), files


def _embedded(entry: Entry, path: Path) -> Item:
    stat = path.stat()
    return Item(entry.ref, entry.quant, stat.st_size, entry.license.id, stat.st_mtime, path)


def _header(path: Path) -> tuple[str | None, str | None]:
    """Quantization and licence as a file states them; a damaged file states nothing."""
    try:
        header = gguf.read(path)
    except LokalError:
        return None, None
    return header.quantization, header.license
