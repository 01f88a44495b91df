"""Bytes from the Hub into a partial file: in parallel, resumable, hashed as they come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from queue import Empty, SimpleQueue

from lokal.hub.faults import NoRangesError, Pace, pause, reason
from lokal.hub.link import Link
from lokal.hub.partial import Partial
from lokal.hub.progress import Progress
from lokal.hub.ranges import Ranges, Span
from lokal.hub.target import Digest, Source, Target

_SMALLEST_PIECE = 4 << 20  # bytes; asking for less costs more than it balances
_HEAP = 1 << 20  # bytes to collect before they are written
_HEAP_SECONDS = 0.5  # or this long, so that slow connections show progress
_HASH_AT_ONCE = 16 << 20  # bytes; a few milliseconds
_TICK = 0.1  # seconds between two looks at how far it is
_TOLD_FOR = 10.0  # seconds in which people remember what they were told
_GRACE = 1.0  # seconds for workers to write what they hold, when all is to end

# What workers tell the thread that started them: a pause and its reason, an error, or their end.
_Event = tuple[float, str] | Exception | None


class Transfer:
    """Brings the bytes of a target that are not here yet, and hashes them behind the arriving end.

    Workers claim pieces in order, so that a file grows from its beginning: the digest can follow,
    and file systems that fill gaps with zeros have little to fill.
    """

    def __init__(
        self,
        target: Target,
        partial: Partial,
        link: Callable[[Source], Link],
        pace: Pace,
        progress: Progress,
    ) -> None:
        self.target, self.partial = target, partial
        self._digest = Digest(target)
        self._links = [link(source) for source in target.sources]
        self._pace, self._progress = pace, progress
        self._lock = threading.Lock()
        self._claimed = Ranges()
        self._has_ranges = True
        self._answered = threading.Event()  # by the first stretch: the server is what it should be
        self._events = SimpleQueue[_Event]()
        self._told = ("", 0.0)  # the last reason to wait, and until when it is not told again

    def run(self, until: int | None = None) -> None:
        """Bring everything, or at least the first `until` bytes.

        Raises:
            KeyboardInterrupt: what has arrived stays in the partial file.
            Exception: what httpx2 and huggingface_hub raise, after enough tries.
        """
        stop = self.target.size if until is None else min(until, self.target.size)
        if self._has_ranges:
            self._claimed = self.partial.here
            missing = sum(gap.size for gap in self._claimed.gaps(stop))
            workers = min(self._pace.connections, -(-missing // _SMALLEST_PIECE))
            first = [lambda halt: self._pieces(stop, halt)]
            others = [lambda halt: self._more_pieces(stop, halt)] * (workers - 1)
            self._work_together([*first[:workers], *others])
        if not self._has_ranges:
            self._work_together([lambda halt: self._stream(stop, halt)])

    def verify(self) -> Digest:
        """Hash what is left to hash of the whole file. What is wrong in it is forgotten."""
        while self._hash_some():
            pass
        digest, self._digest = self._digest, Digest(self.target)
        for source in digest.wrong:
            self.partial.forget(*source.span)
        return digest

    def _hash_some(self) -> bool:
        """Hash a little of what has arrived without a gap; False if there is nothing to hash."""
        gap = self.partial.here.first_gap(self.target.size)
        arrived = gap.start if gap else self.target.size
        before = self._digest.at
        self._digest.follow(self.partial.path, min(arrived, before + _HASH_AT_ONCE))
        return self._digest.at > before

    def _work_together(self, tasks: Sequence[Callable[[threading.Event], None]]) -> None:
        """Run tasks in threads, hash and report meanwhile, and stop them all when one fails."""
        halt = threading.Event()

        def work(task: Callable[[threading.Event], None]) -> None:
            try:
                task(halt)
            except Exception as error:
                self._events.put(error)
            finally:
                self._events.put(None)

        # Daemons, because one that hangs in the network must not keep the process alive.
        threads = [threading.Thread(target=work, args=(task,), daemon=True) for task in tasks]
        failure: Exception | None = None
        try:
            for thread in threads:
                thread.start()
            running = len(threads)
            while running:
                self._progress.at(self.partial.done)
                try:
                    event = self._events.get(block=not self._hash_some(), timeout=_TICK)
                except Empty:
                    continue
                if event is None:
                    running -= 1
                elif isinstance(event, Exception):
                    failure = failure or event
                    halt.set()
                else:
                    self._tell(*event)
        finally:
            halt.set()
            deadline = time.monotonic() + _GRACE
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))
        self._progress.at(self.partial.done)
        if failure:
            raise failure

    def _tell(self, seconds: float, why: str) -> None:
        """Report a pause, once; all workers may have it, or connections break all the time."""
        now = time.monotonic()
        if why != self._told[0] or now >= self._told[1]:
            self._progress.wait(seconds, why)
            self._told = (why, now + seconds + _TOLD_FOR)

    def _pieces(self, stop: int, halt: threading.Event) -> None:
        """A worker: bring one piece after the other."""
        while not halt.is_set() and self._has_ranges and (claim := self._claim(stop)):
            index, span = claim
            self._insist(index, span, halt)

    def _more_pieces(self, stop: int, halt: threading.Event) -> None:
        """A worker that leaves it to the first one to find out whether there are ranges, and where.

        The Hub is asked for one signed link then, and not for one by each worker.
        """
        while not (self._answered.wait(_TICK) or halt.is_set()):
            pass
        self._pieces(stop, halt)

    def _claim(self, stop: int) -> tuple[int, Span] | None:
        """The next stretch that nobody works on, and the number of its source."""
        with self._lock:
            gap = self._claimed.first_gap(stop)
            if gap is None:
                return None
            left = stop - self._claimed.total
            fair = max(_SMALLEST_PIECE, left // (2 * self._pace.connections))
            end = min(gap.stop, gap.start + min(fair, self._pace.piece))
            stops = [source.span.stop for source in self.target.sources]
            index = next(i for i, stop in enumerate(stops) if gap.start < stop)
            span = Span(gap.start, min(end, stops[index]))
            self._claimed.add(*span)
            return index, span

    def _stream(self, stop: int, halt: threading.Event) -> None:
        """The worker where the server sends whole files only: one source after the other."""
        for index, source in enumerate(self.target.sources):
            end = min(stop, source.span.stop)
            while not halt.is_set() and (
                gap := self.partial.here.first_gap(end, source.span.start)
            ):
                self._insist(index, Span(gap.start, end), halt)

    def _insist(self, index: int, span: Span, halt: threading.Event) -> None:
        """Bring a stretch, however often it breaks off; with progress the count begins anew."""
        attempt = 0
        while not halt.is_set():
            gap = self.partial.here.first_gap(span.stop, span.start)
            if gap is None:
                return
            try:
                self._bring(index, Span(gap.start, span.stop), halt)
            except NoRangesError:
                self._has_ranges = False
                self._answered.set()
                return
            except Exception as error:
                arrived = self.partial.here.first_gap(span.stop, span.start) != gap
                attempt = 1 if arrived else attempt + 1
                seconds = pause(error, attempt, self._pace)
                if seconds is None:
                    raise
                self._events.put((seconds, reason(error)))
                halt.wait(seconds)

    def _bring(self, index: int, span: Span, halt: threading.Event) -> None:
        """One request."""
        base = self.target.sources[index].span.start
        pieces = self._links[index].read(
            span.start - base, span.stop - base, whole=not self._has_ranges
        )
        heap = _Heap(self.partial)
        with closing(pieces):
            try:
                for at, data in pieces:
                    self._answered.set()
                    heap.put(base + at, data)
                    if halt.is_set():
                        return
            finally:
                heap.flush()


class _Heap:
    """Collects bytes that follow each other, to write more of them at once.

    It has one buffer for all, because new ones of that size cost more than the copying.
    """

    def __init__(self, partial: Partial) -> None:
        self._partial = partial
        self._buffer = memoryview(bytearray(_HEAP))
        self._start = self._held = 0
        self._flushed = time.monotonic()

    def put(self, at: int, data: bytes) -> None:
        if self._held + len(data) > _HEAP or time.monotonic() - self._flushed > _HEAP_SECONDS:
            self.flush()
        if len(data) > _HEAP:
            self._partial.write(at, data)
            return
        if not self._held:
            self._start = at
        self._buffer[self._held : self._held + len(data)] = data
        self._held += len(data)

    def flush(self) -> None:
        if self._held:
            self._partial.write(self._start, self._buffer[: self._held])
        self._held, self._flushed = 0, time.monotonic()
