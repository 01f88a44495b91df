"""How a batch goes, for people, on standard error."""

from __future__ import annotations

import sys
import time

from lokal.batch.job import Counts, Watcher
from lokal.batch.rows import Row
from lokal.cli.bar import INTERVAL, Bar, drawable
from lokal.cli.output import ReaderGone, duration, note
from lokal.completion import Completion
from lokal.settings import Settings

TOLD = 10  # failures that are told one by one
SHOWN = 500  # characters of a prompt in a sample


def watcher(settings: Settings, size: int | None, *, to_stdout: bool) -> Watcher:
    """What suits standard error; `size` is the input's in bytes, None for a pipe."""
    # Where answers appear on the same screen a bar would be torn apart.
    torn = to_stdout and sys.stdout and sys.stdout.isatty()
    return BarWatcher(size) if drawable(settings) and not torn else LineWatcher(size)


class LineWatcher(Watcher):
    """A line every few seconds, one for each of the first failures, and one at the end."""

    def __init__(self, size: int | None) -> None:
        self._size = size
        self._start = time.monotonic()
        self._told_at = self._start
        self._counts = Counts()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        counts = self._counts
        if counts.taken and not (kind and issubclass(kind, ReaderGone)):
            self._say(f"{_rows(counts, f' in {duration(self._seconds)}')}{self._speed()}")

    def row(self, row: Row, answer: Completion, counts: Counts) -> None:  # noqa: ARG002 - for subclasses
        self._update(counts)
        if answer.error and counts.failed <= TOLD:
            more = "; further failures are only counted" if counts.failed == TOLD else ""
            self._say(f"failed: {answer.error}{more}")

    def moved(self, counts: Counts) -> None:
        self._update(counts)

    def skip(self, counts: Counts) -> None:
        self._update(counts)

    def _update(self, counts: Counts) -> None:
        self._counts = counts
        now = time.monotonic()
        if now - self._told_at >= INTERVAL:
            self._told_at = now
            self._say(f"{_rows(counts)}{self._speed()}{self._left()}")

    def _say(self, text: str) -> None:
        note(text)

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._start

    @property
    def _total(self) -> float | None:
        """How many rows the input has, as far as can be told from those so far."""
        counts = self._counts
        return counts.taken * self._size / counts.end if self._size and counts.end else None

    def _speed(self) -> str:
        tokens = self._counts.generated
        return f", {tokens / max(self._seconds, 1e-3):.0f} tokens/s" if tokens else ""

    def _left(self) -> str:
        counts, total = self._counts, self._total
        # Before most rows that began first have ended, nobody can tell.
        under_way = counts.taken - counts.done - counts.skipped
        if total is None or counts.done <= under_way:
            return ""
        # Those that were there took no time.
        left = total - counts.done - counts.skipped
        return f", {duration(self._seconds * left / counts.done)} left"


class BarWatcher(LineWatcher):
    """A bar."""

    def __enter__(self) -> BarWatcher:
        self._bar = Bar("waiting for rows", 1 if self._size else None)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._bar.stop()
        super().__exit__(kind)

    def _update(self, counts: Counts) -> None:
        self._counts = counts
        text = f"{_rows(counts)}{self._speed()}{self._left()}"
        share = (counts.done + counts.skipped) / self._total if self._total else 0
        self._bar.update(text, share)

    def _say(self, text: str) -> None:
        self._bar.say(text)


class Sampled(Watcher):
    """Shows prompts and answers of a few rows."""

    def row(self, row: Row, answer: Completion, counts: Counts) -> None:
        if counts.done > 1:
            note("")
        name = "" if row.id is None else f", id {row.id}"
        note(f"--- line {row.line}{name}")
        for message in row.messages:
            text = str(message["content"])
            note(f"{message['role']}: {text[:SHOWN]}{'…' if len(text) > SHOWN else ''}")
        if answer.error:
            note(f"failed: {answer.error}")
        else:
            cut = " (cut at the limit)" if answer.finish_reason == "length" else ""
            note(f"answer{cut}: {answer.text}")


def _rows(counts: Counts, took: str = "") -> str:
    """Rows in words: 1204 rows in 12 s, 3 failed, 200 were there."""
    parts = [f"{number(counts.done)}{took}"]
    if counts.failed:
        parts.append(f"{counts.failed} failed")
    if counts.skipped:
        parts.append(f"{counts.skipped} {'was' if counts.skipped == 1 else 'were'} there")
    return ", ".join(parts)


def number(rows: int) -> str:
    """So many rows: 1 row, 2 rows."""
    return "1 row" if rows == 1 else f"{rows} rows"
