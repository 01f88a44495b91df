"""Progress for people, on standard error."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING

from lokal.cli.bar import INTERVAL, drawable
from lokal.cli.output import duration, human_bytes, note, visible
from lokal.hub.client import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from lokal.settings import Settings


def progress(settings: Settings) -> Progress:
    """What suits standard error: bars on a terminal, lines elsewhere and without escape codes."""
    gc.enable()  # a transfer is no start that could be shortened, and lives long enough for garbage
    return BarProgress() if drawable(settings) else LineProgress()


def _waiting(seconds: float, reason: str) -> str:
    return f"waiting {seconds:.0f} s: {reason}" if seconds >= 1 else f"{reason}; going on"


class BarProgress(Progress):
    """A bar per file, and one for all; drawn by rich, imported when there is one to draw."""

    def __init__(self) -> None:
        self._bars: Bars | None = None
        self._before = self._size = 0  # bytes of the files that are finished, and of this one

    def start(self, files: int, size: int) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._total = self._bars.add_task(f"{files} files", total=size, visible=files > 1)
        self._bars.start()

    def begin(self, file: str, size: int) -> None:
        if self._bars:
            self._size = size
            self._file = self._bars.add_task(visible(file.rpartition("/")[2]), total=size)

    def at(self, done: int) -> None:
        if self._bars:
            self._bars.update(self._file, completed=done)
            self._bars.update(self._total, completed=self._before + done)

    def end(self) -> None:
        self._before += self._size

    def finish(self) -> None:
        if self._bars:
            self._bars.stop()
            self._bars = None

    def wait(self, seconds: float, reason: str) -> None:
        self.say(_waiting(seconds, reason))

    def say(self, text: str) -> None:
        if self._bars:  # above the bars, which would be torn apart otherwise
            self._bars.console.print(visible(text), markup=False, highlight=False)
        else:
            note(text)


class LineProgress(Progress):
    """A plain line every few seconds, for logs."""

    def begin(self, file: str, size: int) -> None:
        self._file, self._size, self._start = file, size, -1
        note(f"fetching {file} ({human_bytes(size)})")

    def at(self, done: int) -> None:
        now = time.monotonic()
        if self._start < 0:
            self._start, self._began, self._next = done, now, now + INTERVAL
        if now >= self._next:
            self._next = now + INTERVAL
            speed = max(0.0, done - self._start) / (now - self._began)
            left = f", {duration((self._size - done) / speed)} left" if speed else ""
            share = done / self._size if self._size else 1.0
            note(
                f"{self._file}: {human_bytes(done)} of {human_bytes(self._size)} ({share:.0%}),"
                f" {human_bytes(int(speed))}/s{left}"
            )

    def wait(self, seconds: float, reason: str) -> None:
        note(_waiting(seconds, reason))

    def say(self, text: str) -> None:
        note(text)
