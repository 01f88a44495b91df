"""What is on this machine: the embedded model, and every GGUF file in the shared cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lokal import gguf
from lokal.catalog.entry import Entry
from lokal.catalog.registry import Registry
from lokal.errors import LokalError
from lokal.hub.cache import cached
from lokal.settings import Settings


@dataclass(frozen=True)
class Item:
    """One file; `name` is what `llm run` takes, `size` in bytes, `last_used` in epoch seconds."""

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
    for file in cached():
        # The registry's word on the licence was checked by people; the file's own comes second.
        known = next((entry.license.id for entry in entries if entry.repo == file.repo), None)
        quantization, license_ = _header(file.path)
        name = f"hf.co/{file.repo}:{file.file}"
        here.append(
            Item(name, quantization, file.size, known or license_, file.last_used, file.path)
        )
    return here


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
