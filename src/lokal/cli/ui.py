"""Progress for people, on standard error."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from lokal.cli.output import human_bytes, note
from lokal.hub.client import Progress

if TYPE_CHECKING:
    from rich.progress import TaskID

    from lokal.settings import Settings

INTERVAL = 5.0  # seconds between two lines where no terminal can draw a bar


def progress(settings: Settings) -> Progress:
    """What suits standard error: bars on a terminal, lines elsewhere and without escape codes."""
    bars = sys.stderr and sys.stderr.isatty() and not settings.no_color
    return BarProgress() if bars else LineProgress()


class BarProgress(Progress):
    """A bar per file, drawn by rich, which is imported when the first byte is on its way."""

    def begin(self, file: str, size: int) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task: TaskID = self._bars.add_task(file, total=size)
        self._bars.start()

    def at(self, done: int) -> None:
        self._bars.update(self._task, completed=done)

    def end(self) -> None:
        self._bars.stop()

    def wait(self, seconds: float, reason: str) -> None:
        note(f"{reason}; trying again in {seconds:.0f} s")


class LineProgress(Progress):
    """A plain line every few seconds, for logs."""

    def begin(self, file: str, size: int) -> None:
        self._file, self._size, self._next = file, size, time.monotonic() + INTERVAL
        note(f"fetching {file} ({human_bytes(size)})")

    def at(self, done: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + INTERVAL
            share = done / self._size if self._size else 1.0
            note(f"{self._file}: {human_bytes(done)} of {human_bytes(self._size)} ({share:.0%})")

    def wait(self, seconds: float, reason: str) -> None:
        note(f"{reason}; trying again in {seconds:.0f} s")
