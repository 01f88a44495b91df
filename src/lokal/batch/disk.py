"""A file of lines on a disk that may fill up, in a process that may be killed."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from lokal.errors import SpaceError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_READ = 256 << 10  # bytes at once when all lines are read
_LINE = 4 << 10  # bytes to begin with when one line is
_FLAGS = os.O_RDWR | getattr(os, "O_BINARY", 0)
_OWN = getattr(os, "O_NOFOLLOW", 0)


class Lines:
    """Lines in a file, read and appended without a buffer; `end` is where the next one goes.

    What `append` returned from survives the death of the process. A file that is not open has no
    lines.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = -1
        self.end = 0

    @property
    def is_open(self) -> bool:
        return self.fd >= 0

    def open(self, *, create: bool = True, mode: int = 0o666, follow: bool = True) -> None:
        """A file that is created gets `mode`, less what the umask takes away.

        Raises:
            OSError: it cannot be opened.
        """
        flags = _FLAGS | (os.O_CREAT if create else 0)
        self.fd = os.open(self.path, flags if follow else flags | _OWN, mode)
        self.end = os.lseek(self.fd, 0, os.SEEK_END)

    def append(self, line: bytes) -> int:
        """Write a line with its newline, whole or not at all; returns where it begins.

        Raises:
            SpaceError: the disk is full, or broken.
        """
        offset, rest = self.end, memoryview(line)
        try:
            with failures_told(self.path):
                os.lseek(self.fd, offset, os.SEEK_SET)
                while rest:
                    rest = rest[os.write(self.fd, rest) :]
        except BaseException:
            with contextlib.suppress(OSError):  # the next run cuts it off
                os.ftruncate(self.fd, offset)
            raise
        self.end = offset + len(line)
        return offset

    def line_at(self, offset: int) -> bytes:
        """The line that begins there, with its newline."""
        data, size = b"", _LINE
        while more := self.read(offset + len(data), size):
            data += more
            if stop := data.find(b"\n") + 1:
                return data[:stop]
            size *= 2
        return data

    def lines(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """Every line from there on with the place where it begins; the last may lack its newline.

        Lines may be appended meanwhile.
        """
        at = position = start
        rest = b""
        while self.is_open and (data := self.read(position, _READ)):
            position += len(data)
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield at, line + b"\n"
                at += len(line) + 1
        if rest:
            yield at, rest

    def cut(self, end: int) -> None:
        """Forget everything from there on.

        Raises:
            SpaceError: the disk is broken.
        """
        with failures_told(self.path):
            os.ftruncate(self.fd, end)
        self.end = end

    def sync(self) -> None:
        """Make all of it survive the machine too.

        Raises:
            SpaceError: the disk is full, or broken.
        """
        with failures_told(self.path):
            os.fsync(self.fd)

    def close(self) -> None:
        """Some file systems tell only now that they are full.

        Raises:
            SpaceError: the disk is full, or broken.
        """
        if self.is_open:
            fd, self.fd, self.end = self.fd, -1, 0
            with failures_told(self.path):
                os.close(fd)

    def read(self, offset: int, size: int) -> bytes:
        os.lseek(self.fd, offset, os.SEEK_SET)
        return os.read(self.fd, size)


def replace(source: Path, target: Path) -> None:
    """Give a file the name of another, for good.

    Raises:
        OSError: the file system does not let us.
    """
    source.replace(target)
    with contextlib.suppress(OSError):  # Windows opens no directories
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def remove(path: Path) -> None:
    """Remove a file if it is there.

    Raises:
        OSError: the file system does not let us.
    """
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def failures_told(path: Path | str) -> Iterator[None]:
    """What the system says about a write, in words."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        act = "free some space" if error.errno in _FULL else "see that it can be written"
        raise SpaceError(
            f"cannot write to {path}: {error.strerror}", hint=f"{act}; the same command continues"
        ) from None
