"""Where finished rows go: a stream, or a file that an interrupted run can continue."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from lokal.batch import disk, lock
from lokal.batch.disk import Lines, failures_told
from lokal.batch.earlier import IN_FILE, Earlier, Ledger, Result, Survey, mark, results, survey
from lokal.batch.journal import Journal
from lokal.errors import LokalError, UsageError
from lokal.settings import expand

SYNC_EVERY = 5.0  # seconds of work that a crash of the machine may cost

_ELSEWHERE = "choose another file with -o"


class OutputOptions(NamedTuple):
    """How rows are written. All but `unordered` concern files only."""

    unordered: bool = False
    resumable: bool = True
    """Whether lines are results; the bare answers of --text tell nothing about their rows."""
    restart: bool = False
    retry_errors: bool = False


_DEFAULTS = OutputOptions()


class Output:
    """Finished rows, one a line, in the order of their tickets; for use by one thread.

    A context manager: `begin` comes before the first row, and leaving without an exception says
    that all rows of the input were read.
    """

    earlier = Earlier()
    """What an earlier run left. Rows that fail again count in `earlier.failed` no more."""
    unclaimed = 0
    """Rows of an earlier run that no row of the input asked for; known after `close`."""
    retried = 0
    """Failed rows that were taken out, to be tried again."""
    changed = 0
    """Rows that `done` knew by their id, though their content is another than it was."""

    def __init__(self, *, unordered: bool) -> None:
        self._unordered = unordered
        self._tickets = 0

    @property
    def waiting(self) -> int:
        """Rows that are finished, but wait for an earlier one."""
        return 0

    def begin(self) -> None:
        """Make ready for the first row; until now nothing that was there has been touched."""

    def done(self, index: int, id_: str | int | None, digest: str) -> bool:  # noqa: ARG002
        """Whether an earlier run finished this row; if so, it is in its place or on its way.

        To be asked once for every row, in input order.
        """
        return False

    def ticket(self) -> int:
        """The place of the next row in the output, from 0."""
        self._tickets += 1
        return self._tickets - 1

    def put(self, ticket: int, line: bytes) -> None:
        """One finished row with its newline; safe when this returns, if it goes to a file."""
        raise NotImplementedError

    def close(self, *, complete: bool) -> None:
        """No more rows; `complete` says that the input was read to its end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close(complete=True)
        else:
            with contextlib.suppress(LokalError):  # what went wrong first is what counts
                self.close(complete=False)


class Stream(Output):
    """Rows to whoever reads them now; those that wait for an earlier one are held in memory.

    Whatever `write` raises goes through. `by_place` says that a line is known by its place only:
    then none is written after one that is missing.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        *,
        unordered: bool = False,
        by_place: bool = False,
    ) -> None:
        super().__init__(unordered=unordered)
        self._write = write
        self._by_place = by_place
        self._lines: dict[int, bytes] = {}
        self._next = 0
        self._broken = False

    @property
    def waiting(self) -> int:
        return len(self._lines)

    def put(self, ticket: int, line: bytes) -> None:
        if self._unordered:
            self._send(line)
            return
        self._lines[ticket] = line
        while self._next in self._lines:
            self._send(self._lines.pop(self._next))
            self._next += 1

    def close(self, *, complete: bool) -> None:
        """Write what still waits for rows that will never come."""
        for ticket in sorted(self._lines):
            if not self._broken and (complete or not self._by_place):
                self._send(self._lines[ticket])
        self._lines.clear()

    def _send(self, line: bytes) -> None:
        self._broken = True
        self._write(line)
        self._broken = False


class Device(Stream):
    """A named pipe or a device: opened by name, but nothing can be found there again.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, *, unordered: bool) -> None:
        self._file = path.open("wb", buffering=0)
        self._path = path
        super().__init__(self._whole, unordered=unordered)

    def close(self, *, complete: bool) -> None:
        try:
            super().close(complete=complete)
        finally:
            self._file.close()

    def _whole(self, line: bytes) -> None:
        rest = memoryview(line)
        with failures_told(self._path):
            while rest:
                rest = rest[self._file.write(rest) or 0 :]


class File(Output):
    """Rows appended to a file, each safe at once; what an earlier run finished counts.

    Failed rows are tried again without ever rewriting the file in its place: the rows after the
    first failed one are copied to a new side file, which becomes the side file in one step; then
    the file is cut off where that row begins. Dying before that step changes nothing, since
    nobody believes a new side file. Dying after it leaves rows in both files, which the next run
    takes for one. Dying after the cut leaves them in the side file, from where every run puts
    them back in their places. The file keeps its name, its lock, its links and permissions.
    """

    def __init__(
        self, path: Path, options: OutputOptions, source: os.stat_result | None = None
    ) -> None:
        """Look at the file and touch nothing; `source` is the input, which is never written over.

        Raises:
            UsageError: another run writes to it, it is somebody else's, or cannot be written.
        """
        super().__init__(unordered=options.unordered)
        self.path = path
        self._options = options
        self._synced = time.monotonic()
        self._ledger = Ledger()
        self._survey = Survey()
        self._begun = False
        self._file, self._created = _open(path)
        self._journal = Journal(self._file)
        try:
            self._journal.find()
            self._look(source)
        except BaseException:
            self._abandon()
            raise
        self.earlier = self._survey.earlier

    @property
    def waiting(self) -> int:
        return self._journal.waiting

    def begin(self) -> None:
        """Cut off what is torn, take out what is to be tried again, forget all for a restart.

        Raises:
            SpaceError: the disk is full, or broken.
            UsageError: there can be no side file.
        """
        journal, seen = self._journal, self._survey
        beside = 0
        with failures_told(self.path):
            if self._options.restart:
                journal.remove()
            elif journal.side.end or seen.stands < seen.end:
                beside = self._gather()
            self._file.cut(seen.stands)
            if self._unordered:
                journal.copy(place for place, _ in journal.side.lines())
                journal.remove()
        if not self._unordered:
            try:
                journal.start(beside)
            except OSError as error:
                raise _unusable(journal.path, error) from None
        self._begun = True

    def done(self, index: int, id_: str | int | None, digest: str) -> bool:
        found = self._ledger.take(index, id_, digest)
        if found is None:
            return False
        place, changed = found
        self.changed += changed
        if place != IN_FILE:
            self._journal.claim(self.ticket(), place)
        return True

    def put(self, ticket: int, line: bytes) -> None:
        if self._unordered:
            self._file.append(line)
        else:
            self._journal.put(ticket, line)
        if time.monotonic() - self._synced > SYNC_EVERY:
            self._journal.sync()
            self._synced = time.monotonic()

    def close(self, *, complete: bool) -> None:
        """Bring what is there to the disk; at a clean end the side file is gone.

        Rows in it that no row of the input asked for go to the end of the file: they were
        finished, and it may be that only a part of the input was read.

        Raises:
            SpaceError: the disk is full, or broken.
        """
        journal = self._journal
        if not self._begun:
            self._abandon()
            return
        self.unclaimed = len(self._ledger)
        try:
            if complete and (self._unordered or journal.next == self._tickets):
                journal.copy(self._ledger.beside())
            journal.sync()
            if not journal.waiting:
                journal.remove()
        finally:
            self._abandon()

    def _look(self, source: os.stat_result | None) -> None:
        file, side = self._file, self._journal.side
        for lines in (file, side):
            if source and lines.is_open and os.path.samestat(os.fstat(lines.fd), source):
                raise UsageError(f"{lines.path} is the input itself", hint=_ELSEWHERE)
        start = file.read(0, 4)
        if start == b"GGUF":
            raise UsageError(f"{self.path} is a model", hint=_ELSEWHERE)
        if self._options.restart:
            return
        if not self._options.resumable:
            if file.end or side.end:
                raise UsageError(
                    f"{self.path} is not empty, and plain answers cannot be continued",
                    hint=f"--restart starts over, or {_ELSEWHERE}",
                )
        elif file.end and not start.startswith(b"{"):
            raise UsageError(
                f"{self.path} holds something else than results",
                hint=f"{_ELSEWHERE}, or write over it with --restart",
            )
        else:
            retry = self._options.retry_errors
            self._survey = survey(file, side, self._ledger, retry_errors=retry)

    def _gather(self) -> int:
        """Make a side file of all rows that are finished but do not stay in the file."""
        count = 0
        with self._journal.rewriting() as new:
            for line, result in self._not_staying():
                if result.failed and self._options.retry_errors:
                    self.retried += 1
                else:
                    place = new.append(line)
                    self._ledger.add(result, IN_FILE if self._unordered else place)
                    count += 1
        return count

    def _not_staying(self) -> Iterator[tuple[bytes, Result]]:
        seen, side = self._survey, self._journal.side
        for _, line, result in results(self._file, seen.stands, seen.end):
            yield line, result
        for _, line, result in results(side, 0, seen.side_end):
            if seen.fresh.take(mark(line)):
                yield line, result

    def _abandon(self) -> None:
        """Close what is open, and leave no empty file behind that was not there before."""
        try:
            if self._created and not self._file.end and not self._begun:
                with contextlib.suppress(OSError):
                    disk.remove(self.path)
            self._journal.close()
        finally:
            self._file.close()


def open_output(
    name: str, options: OutputOptions = _DEFAULTS, source: os.stat_result | None = None
) -> Output:
    """The output that -o names, looked at but not touched; a named pipe is a mere stream.

    `source` is what `os.fstat` says of the input, which is never written over.

    Raises:
        UsageError: another run writes to it, it is somebody else's, or cannot be written.
    """
    path = expand(name)
    try:
        mode = path.stat().st_mode if path.exists() else stat.S_IFREG
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            return Device(path, unordered=options.unordered)
        # Whatever name a file goes by, its side file is the same.
        return File(path.resolve() if path.is_symlink() else path, options, source)
    except OSError as error:
        raise _unusable(path, error) from None


def _open(path: Path) -> tuple[Lines, bool]:
    """The file under its lock, and whether it is new.

    Raises:
        OSError: it cannot be written.
        UsageError: another run writes to it.
    """
    while True:
        created = not path.exists()
        file = Lines(path)
        file.open()
        try:
            if not lock.take(file.fd):
                raise UsageError(
                    f"another run is writing to {path}", hint=f"wait for it, or {_ELSEWHERE}"
                )
            # Whoever had the lock may have written more, or removed an empty file.
            here = os.fstat(file.fd)
            file.end = here.st_size
            if path.exists() and os.path.samestat(here, path.stat()):
                return file, created
        except BaseException:
            file.close()
            raise
        file.close()


def _unusable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot write to {path}: {error.strerror}", hint=_ELSEWHERE)
