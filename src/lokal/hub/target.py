"""What is to be put together: one file, out of one file of the repository or several raw parts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from lokal.catalog.quants import Weights
from lokal.hub.facts import Facts, File
from lokal.hub.ranges import Span

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Source:
    """A file of the repository, and where its bytes go in the target."""

    file: File
    span: Span


@dataclass(frozen=True)
class Target:
    """A file of the cache to be: `name` is its path in the snapshot.

    Raw parts are fetched straight to their places in the whole, which therefore never needs more
    room on the disk than its own size.
    """

    name: str
    sources: Sequence[Source]

    @property
    def size(self) -> int:
        return self.sources[-1].span.stop

    @property
    def is_joined(self) -> bool:
        return len(self.sources) > 1

    @property
    def key(self) -> str:
        """64 or 40 hex digits that stand for the content before it is here."""
        if not self.is_joined:
            return self.sources[0].file.etag
        return hashlib.sha256("".join(s.file.etag for s in self.sources).encode()).hexdigest()


def targets(weights: Weights, facts: Facts) -> list[Target]:
    """The files to have, the one to load first."""
    files = [facts.files[name] for name in weights.files]
    if not weights.raw_parts:
        return [Target(file.name, [Source(file, Span(0, file.size))]) for file in files]
    stops = list(accumulate(file.size for file in files))
    sources = [
        Source(file, Span(stop - file.size, stop)) for file, stop in zip(files, stops, strict=True)
    ]
    return [Target(weights.name, sources)]


class Digest:
    """Hashes a target from its first byte to its last, each source by itself and all together."""

    def __init__(self, target: Target) -> None:
        self.at = 0
        self.wrong: list[Source] = []
        self._target = target
        self._whole: Any = hashlib.sha256() if target.is_joined else None
        self._left = list(target.sources)
        self._current: Any = self._left[0].file.digest()
        self._buffer = memoryview(bytearray(_BLOCK))  # one for all, as new ones cost page faults
        self._settle()

    def follow(self, path: Path, stop: int) -> None:
        """Go on with the bytes of a file up to `stop`."""
        with path.open("rb", buffering=0) as file:
            file.seek(self.at)
            while self._left and self.at < stop:
                end = min(stop, self._left[0].span.stop, self.at + _BLOCK)
                data = self._buffer[: file.readinto(self._buffer[: end - self.at])]
                if not data:
                    return
                self._current.update(data)
                if self._whole:
                    self._whole.update(data)
                self.at += len(data)
                self._settle()

    @property
    def blob_name(self) -> str:
        """What the content is called in `blobs/`, once all of it was read and found right."""
        return self._whole.hexdigest() if self._whole else self._target.key

    def _settle(self) -> None:
        """At the end of a source: compare, and begin with the next."""
        while self._left and self.at == self._left[0].span.stop:
            source = self._left.pop(0)
            if self._current.hexdigest() != source.file.etag:
                self.wrong.append(source)
            if self._left:
                self._current = self._left[0].file.digest()


def verify(target: Target, path: Path) -> Digest | None:
    """Hash a file that is here; None if it is not the target.

    Raises:
        OSError: it cannot be read.
    """
    if path.stat().st_size != target.size:
        return None
    digest = Digest(target)
    digest.follow(path, target.size)
    return digest if digest.at == target.size and not digest.wrong else None
