"""The side file: finished rows that wait there until the rows before them are finished.

    FILE                results, in input order
    FILE.pending        rows that are finished, but not yet in FILE
    FILE.pending.new    the same while it is written anew; means nothing to the next run

A row is copied into FILE before the side file forgets it, so whatever moment the process dies at,
a finished row stands in one of them at least. In both it is the same line byte for byte: by that
the next run knows it. Memory keeps only where waiting rows begin.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator

from lokal.batch import disk
from lokal.batch.disk import Lines, failures_told

SLACK = 4 << 20  # bytes of rows already copied, before the side file is written anew


class Journal:
    """Puts finished rows into a file in the order of their tickets."""

    def __init__(self, file: Lines) -> None:
        self._file = file
        self._mode = stat.S_IMODE(os.fstat(file.fd).st_mode)
        self.path = file.path.with_name(f"{file.path.name}.pending")
        self._new = file.path.with_name(f"{self.path.name}.new")
        self.next = 0
        """The ticket of the row that FILE gets next."""
        self.side = Lines(self.path)
        self._places: deque[int | None] = deque()  # of the rows from `next` on
        self._live = 0  # bytes of the side file that FILE does not have
        self._unclaimed = 0

    @property
    def waiting(self) -> int:
        """How many finished rows are not in the file yet."""
        return len(self._places) - self._places.count(None) + self._unclaimed

    def find(self) -> None:
        """Open the side file that an earlier run left, if there is one.

        Raises:
            OSError: it cannot be opened.
        """
        with contextlib.suppress(FileNotFoundError):
            self.side.open(create=False, follow=False)

    def start(self, unclaimed: int) -> None:
        """Have a side file, in which so many rows stand that have no ticket yet.

        Raises:
            OSError: there cannot be one.
        """
        if not self.side.is_open:
            self.side.open(mode=self._mode, follow=False)
        self._live, self._unclaimed = self.side.end, unclaimed

    def put(self, ticket: int, line: bytes) -> None:
        """Write a row where it belongs; it is safe when this returns.

        Raises:
            SpaceError: the disk is full, or broken.
        """
        if ticket == self.next:
            self._file.append(line)
            self._advance()
            self._copy_due()
        else:
            self._set(ticket, self.side.append(line))
            self._live += len(line)

    def claim(self, ticket: int, place: int) -> None:
        """Give a row its ticket that stands in the side file already.

        Raises:
            SpaceError: the disk is full, or broken.
        """
        self._set(ticket, place)
        self._unclaimed -= 1
        self._copy_due()

    def copy(self, places: Iterable[int]) -> None:
        """Append rows of the side file to the file, whose turn never came.

        Raises:
            SpaceError: the disk is full, or broken.
        """
        for place in places:
            self._copy(place)
        self._unclaimed = 0

    @contextlib.contextmanager
    def rewriting(self) -> Iterator[Lines]:
        """A new side file, which takes the place of the old one if nothing goes wrong.

        Raises:
            SpaceError: the disk is full, or broken.
        """
        with failures_told(self._new):
            disk.remove(self._new)
            new = Lines(self._new)
            new.open(mode=self._mode, follow=False)
        try:
            yield new
            new.sync()
            new.close()
            self.side.close()
            with failures_told(self.path):
                disk.replace(self._new, self.path)
                self.side.open(create=False, follow=False)
        except BaseException:
            with contextlib.suppress(Exception):
                new.close()
                disk.remove(self._new)
            raise

    def sync(self) -> None:
        """Make all rows survive the machine too.

        Raises:
            SpaceError: the disk is full, or broken.
        """
        self._file.sync()
        if self.side.is_open and self._live:
            self.side.sync()

    def remove(self) -> None:
        """There is no side file any more.

        Raises:
            SpaceError: the file system does not let us.
        """
        self.close()
        with failures_told(self.path):
            disk.remove(self.path)
            disk.remove(self._new)

    def close(self) -> None:
        self.side.close()

    def _set(self, ticket: int, place: int) -> None:
        at = ticket - self.next
        while len(self._places) <= at:
            self._places.append(None)
        self._places[at] = place

    def _advance(self) -> None:
        self.next += 1
        if self._places:
            self._places.popleft()

    def _copy(self, place: int) -> None:
        line = self.side.line_at(place)
        self._file.append(line)
        self._live -= len(line)

    def _copy_due(self) -> None:
        if not self._places or self._places[0] is None:
            return
        while self._places and (place := self._places[0]) is not None:
            self._copy(place)
            self._advance()
        if not self._live:
            self.side.cut(0)
        elif not self._unclaimed and self.side.end - self._live > max(SLACK, self._live):
            self._compact()

    def _compact(self) -> None:
        with self.rewriting() as new:
            moved = deque(
                None if place is None else new.append(self.side.line_at(place))
                for place in self._places
            )
        self._places = moved
