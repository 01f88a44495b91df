"""Which bytes of a file are here: bookkeeping in pure Python."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Span(NamedTuple):
    """Bytes from `start` up to, but not including, `stop`."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start


class Ranges:
    """A set of bytes, kept as spans that are sorted, apart from each other and not empty."""

    def __init__(self, spans: Iterable[tuple[int, int]] = ()) -> None:
        self.spans: list[Span] = []
        for start, stop in spans:
            self.add(start, stop)

    @property
    def total(self) -> int:
        """How many bytes there are."""
        return sum(span.size for span in self.spans)

    def add(self, start: int, stop: int) -> None:
        """Put a span in; what it touches becomes one with it."""
        if start >= stop:
            return
        before = [span for span in self.spans if span.stop < start]
        after = [span for span in self.spans if span.start > stop]
        joined = self.spans[len(before) : len(self.spans) - len(after)]
        if joined:
            start, stop = min(start, joined[0].start), max(stop, joined[-1].stop)
        self.spans = [*before, Span(start, stop), *after]

    def remove(self, start: int, stop: int) -> None:
        """Take a span out."""
        if start >= stop:
            return
        kept = []
        for span in self.spans:
            kept += [
                Span(span.start, min(span.stop, start)),
                Span(max(span.start, stop), span.stop),
            ]
        self.spans = [span for span in kept if span.start < span.stop]

    def gaps(self, stop: int, start: int = 0) -> Iterator[Span]:
        """The spans between `start` and `stop` that are not in the set, in order."""
        for span in self.spans:
            if span.stop <= start:
                continue
            if span.start >= stop:
                break
            if start < span.start:
                yield Span(start, span.start)
            start = span.stop
        if start < stop:
            yield Span(start, stop)

    def first_gap(self, stop: int, start: int = 0) -> Span | None:
        return next(self.gaps(stop, start), None)
