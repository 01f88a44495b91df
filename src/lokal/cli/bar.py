"""A bar on standard error, and where there is one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lokal.cli.output import visible

if TYPE_CHECKING:
    from lokal.settings import Settings

INTERVAL = 5.0  # seconds between two lines where no terminal can draw a bar


def drawable(settings: Settings) -> bool:
    """Whether standard error is a terminal that may be drawn on."""
    return sys.stderr is not None and sys.stderr.isatty() and not settings.no_color


class Bar:
    """One bar with a text behind it, drawn by rich, and gone when it is stopped."""

    def __init__(self, text: str, total: float | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._bars = Progress(
            BarColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,  # what is written at the end says it all
        )
        self._task = self._bars.add_task(text, total=total)
        self._bars.start()

    def update(self, text: str, completed: float) -> None:
        self._bars.update(self._task, description=text, completed=completed)

    def say(self, text: str) -> None:
        """A line above it, which would be torn apart otherwise."""
        self._bars.console.print(visible(text), markup=False, highlight=False)

    def stop(self) -> None:
        self._bars.stop()
