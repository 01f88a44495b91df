"""Requests in, events out."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable
from typing import Protocol

from lokal.engine.plan import NoSlotError, Plan
from lokal.engine.request import Event, FinishEvent, Request
from lokal.engine.scheduler import Scheduler

Inbox = deque[Event]


class Backend(Protocol):
    """The native side: KV cache, forward pass, samplers."""

    def decode(self, plan: Plan) -> Iterable[int]:
        """Compute a plan, sample a token for each of its chunks that asks for one, and its twins.

        When it raises, the edits that are left in the plan are still to be made.

        Raises:
            NoSlotError: the KV cache has no place for so many tokens; nothing was computed.
            KeyboardInterrupt: Ctrl-C came while it ran.
        """


class Engine:
    """Runs any number of requests through one model; a single prompt is a batch of one.

    Threads may share it: they take turns, batch by batch.
    """

    def __init__(self, backend: Backend, scheduler: Scheduler) -> None:
        self.backend = backend
        self.scheduler = scheduler
        self._inboxes: dict[str, Inbox] = {}
        self._turn = threading.RLock()

    def add(self, request: Request) -> None:
        """Queue a request.

        Raises:
            UsageError: its prompt is empty.
            ContextError: its prompt does not fit the context.
        """
        self.scheduler.add(request)

    def step(self) -> list[Event]:
        """Compute one batch."""
        while True:
            plan = self.scheduler.plan()
            try:
                tokens = self.backend.decode(plan)
            except NoSlotError:
                self.scheduler.undo(plan)
                if not self.scheduler.shrink():
                    raise
            except BaseException:
                self.scheduler.undo(plan)
                raise
            else:
                return self.scheduler.advance(plan, tokens)

    def open(self, request: Request) -> Inbox:
        """Queue a request; `move` puts its events into the inbox that is returned.

        Raises:
            UsageError, ContextError: as from `add`.
        """
        with self._turn:
            if request.id in self._inboxes:
                raise ValueError(f"there is a request with the id {request.id!r} already")
            self.add(request)
            inbox: Inbox = deque()
            self._inboxes[request.id] = inbox
        return inbox

    def close(self, request_id: str) -> None:
        """Give a request up, if it is still under way, and its inbox."""
        with self._turn:
            self.scheduler.abort(request_id)
            self._inboxes.pop(request_id, None)

    def move(self) -> None:
        """Compute one batch; whose events they are is sorted out here.

        So any number of streams may be open side by side: each moves all of them forward. Requests
        that somebody gave to `add` are for a caller of `step`; nothing else runs beside them.
        """
        with self._turn:
            if self.scheduler.has_work:  # else another thread's turn has done it all
                for event in self.step():
                    self._inboxes[event.request_id].append(event)

    def check_integrity(self) -> None:
        """Raises: AssertionError: the books of the KV cache do not balance."""
        with self._turn:
            self.scheduler.check_integrity()

    def stream(self, request: Request) -> Generator[Event]:
        """Run one request to its end, as `follow` does once it is open."""
        yield from self.follow(request, self.open(request))

    def follow(self, request: Request, inbox: Inbox) -> Generator[Event]:
        """The events of a request that is open, which is closed at the end.

        Leaving the loop early, or Ctrl-C in it, aborts the request. On Ctrl-C the text that was
        held back and the final event still come, then the KeyboardInterrupt goes on.
        """
        event: Event | None = None
        try:
            while not isinstance(event, FinishEvent):
                if inbox:
                    event = inbox.popleft()
                    yield event
                else:
                    self.move()
        except KeyboardInterrupt:
            with self._turn:
                rest = [*inbox, *self.scheduler.abort(request.id)]
            yield from rest
            raise
        finally:
            self.close(request.id)
