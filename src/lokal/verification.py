"""Weights on this machine compared with the checksums that they must have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lokal import checksum, gguf
from lokal.errors import LokalError, OfflineError
from lokal.hub.progress import Progress
from lokal.inventory import Item, inventory, select
from lokal.settings import Settings
from lokal.weights import fetch, find, local_path


@dataclass(frozen=True)
class Verdict:
    """What became of one file; `sha256` is what it must have, `problem` what is wrong.

    A file is `unknown` where nobody has stated a checksum; it is remembered for the next time.
    """

    name: str
    path: Path
    status: Literal["ok", "damaged", "unknown", "repaired"]
    sha256: str | None
    problem: str | None = None


def verify(
    names: Sequence[str] | None,
    settings: Settings,
    hashing: Progress,
    fetching: Callable[[], Progress] | None = None,
) -> Iterator[Verdict]:
    """Hash every file of the named models, or of all that are here; no network.

    Given a progress for it, what is damaged is fetched again, as far as `llm pull` can: not a
    user's own file, nor one of an old revision.

    Raises:
        ModelNameError: no such model, or nothing of it is here.
        OfflineError: a file is damaged and the network is switched off; the file stays.
        LokalError: whatever a transfer raises.
    """
    found = inventory(settings)
    if names:
        found = [item for name in names for item in select(found, name, settings)]
    for item in found:
        for path in item.files:
            verdict = _verdict(item, path, settings, hashing)
            if fetching and verdict.status == "damaged" and _can_come_again(item, settings):
                _repair(item, path, settings, fetching)
                verdict = replace(verdict, status="repaired")
            yield verdict


def _verdict(item: Item, path: Path, settings: Settings, hashing: Progress) -> Verdict:
    stated = (
        checksum.stated(path)
        or (item.entry and item.entry.sha256)
        or checksum.remembered(path, settings.state_dir)
    )
    verdict = Verdict(item.name, path, "ok", stated)
    try:
        if problem := _truncated(path):
            return replace(verdict, status="damaged", problem=problem)
        hashing.begin(item.name, path.stat().st_size)
        try:
            found = checksum.digest(path, hashing.at)
        finally:
            hashing.end()
    except OSError as error:
        return replace(verdict, status="damaged", problem=f"cannot be read: {error.strerror}")
    if stated is None:
        checksum.remember(path, settings.state_dir, found)
        problem = "nobody has stated its checksum; it is remembered now"
        return replace(verdict, status="unknown", problem=problem)
    if found != stated:
        return replace(verdict, status="damaged", problem=f"its sha256 is {found}")
    return verdict


def _truncated(path: Path) -> str | None:
    """A file that ends before its header says needs no hashing."""
    try:
        must = gguf.read(path).file_size
    except LokalError:  # what else is wrong with it, its checksum tells
        return None
    size = path.stat().st_size
    return f"truncated: {size} of {must} bytes are there" if size < must else None


def _can_come_again(item: Item, settings: Settings) -> bool:
    """Whether the item has a name that leads to its file, so that pulling it brings it back."""
    source = find(item.name, settings)
    return source.path is None and local_path(source, settings) == item.path


def _repair(item: Item, path: Path, settings: Settings, fetching: Callable[[], Progress]) -> None:
    if settings.offline:
        raise OfflineError(
            f"{item.name} is damaged, and the network is switched off",
            hint="go online to repair it (see HF_HUB_OFFLINE)",
        )
    from lokal.hub.removal import discard

    discard(path)
    # It was fetched once, whatever this machine can do with it.
    fetch(find(item.name, settings), settings, fetching())
