"""What the registry offers, as seen from this machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lokal.catalog.entry import Entry
from lokal.catalog.registry import Registry
from lokal.hardware import fit
from lokal.inventory import downloaded
from lokal.settings import Settings


@dataclass(frozen=True)
class Offer:
    """An entry; `size` of the default quantization and `memory` to run it in bytes.

    `fits` is None where nobody knows the size or this machine's memory; `here` says whether some
    quantization of it is on this machine.
    """

    entry: Entry
    size: int | None
    memory: int | None
    fits: bool | None
    here: bool

    def as_dict(self) -> dict[str, Any]:
        """What `llm models --json` shows."""
        own = {"size": self.size, "memory": self.memory, "fits": self.fits, "here": self.here}
        return {**asdict(self.entry), **own}


def offers(settings: Settings) -> list[Offer]:
    """Every model that has a name: what fits this machine first, then in the order of the files.

    Raises:
        UsageError: the user's registry is invalid.
    """
    entries = list(Registry.load(settings).entries())
    here = {item.entry.ref for item in downloaded(entries) if item.entry and item.runs}
    return sorted((_offer(entry, here) for entry in entries), key=lambda offer: not offer.fits)


def _offer(entry: Entry, here: set[str]) -> Offer:
    path = entry.embedded_path()
    is_here = path.is_file() if path else entry.ref in here
    size = path.stat().st_size if path and is_here else entry.size
    if size is None:
        return Offer(entry, None, None, None, is_here)
    return Offer(entry, size, fit.estimate(size), fit.fits(size), is_here)
