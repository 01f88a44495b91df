"""What has moved since models.toml was written: entries compared with a repository's listing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from lokal.catalog import quants
from lokal.catalog.entry import Entry
from lokal.errors import LokalError

SLACK = 0.05  # of a size, which models.toml gives in three digits or fewer


@dataclass(frozen=True)
class Finding:
    """What is different about one entry; no problems: all is as it says."""

    ref: str
    repo: str
    problems: tuple[str, ...]


def check(
    entries: Iterable[Entry], listing: Callable[[str], Mapping[str, int | None]]
) -> Iterator[Finding]:
    """Compare every entry that has a repository; `listing` gives its files, with sizes in bytes.

    What `listing` raises as a LokalError is a finding too.
    """
    for entry in entries:
        if entry.repo is None:
            continue
        try:
            problems = tuple(_problems(entry, listing(entry.repo)))
        except LokalError as error:
            problems = (error.message,)
        yield Finding(entry.ref, entry.repo, problems)


def _problems(entry: Entry, sizes: Mapping[str, int | None]) -> Iterator[str]:
    sets = quants.group(sizes)
    wanted = (entry.filename() or "").lower()
    found = next((weights for weights in sets if weights.name.lower() == wanted), None)
    if found is None:
        there = ", ".join(sorted(weights.name for weights in sets)) or "no GGUF file"
        yield f"{entry.filename()} is not there, but {there}"
        return
    if not found.complete:
        yield f"{found.name}: {len(found.files)} of {found.expected} pieces are there"
    split = "parts" if found.raw_parts else "shards" if found.expected > 1 else None
    if split != entry.split:
        yield f"{found.name} is split into {split or 'nothing'}, not {entry.split or 'nothing'}"
    size = _size(found, sizes)
    if entry.size and size and abs(size - entry.size) > SLACK * entry.size:
        yield f"{found.name} has {size / 1e9:.3g} GB, not {entry.size / 1e9:.3g}"
    of_entry = (weights for weights in sets if entry.quant_of(weights.name))
    others = [n for weights in of_entry if (n := _size(weights, sizes))]
    if entry.size_range and others:
        smallest, largest = entry.size_range
        if not (1 - SLACK) * smallest <= min(others) <= (1 + SLACK) * smallest:
            yield f"the smallest has {min(others) / 1e9:.3g} GB, not {smallest / 1e9:.3g}"
        if not (1 - SLACK) * largest <= max(others) <= (1 + SLACK) * largest:
            yield f"the largest has {max(others) / 1e9:.3g} GB, not {largest / 1e9:.3g}"


def _size(weights: quants.Weights, sizes: Mapping[str, int | None]) -> int:
    return sum(sizes[file] or 0 for file in weights.files)
