"""Requests in, events out."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from typing import Protocol

from lokal.engine.request import Event, FinishEvent, Request
from lokal.engine.scheduler import NoSlotError, Plan, Scheduler


class Backend(Protocol):
    """The native side: KV cache, forward pass, samplers."""

    def decode(self, plan: Plan) -> Iterable[int]:
        """Compute a plan and sample a token for each of its chunks that asks for one.

        When it raises, the edits that are left in the plan are still to be made.

        Raises:
            NoSlotError: the KV cache has no place for so many tokens; nothing was computed.
            KeyboardInterrupt: Ctrl-C came while it ran.
        """


class Engine:
    """Runs any number of requests through one model; a single prompt is a batch of one."""

    def __init__(self, backend: Backend, scheduler: Scheduler) -> None:
        self.backend = backend
        self.scheduler = scheduler
        self._inboxes: dict[str, deque[Event]] = {}

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

    def stream(self, request: Request) -> Generator[Event]:
        """Run one request to its end; leaving the loop early, or Ctrl-C in it, aborts the request.

        On Ctrl-C the text that was held back and the final event still come, then the
        KeyboardInterrupt goes on. Streams may be open side by side: each of them moves all
        forward, and what belongs to another waits in that one's inbox. Requests that somebody gave
        to `add` are for a caller of `step`; streams do not run beside them.
        """
        if request.id in self._inboxes:
            raise ValueError(f"there is a stream with the id {request.id!r} already")
        self.add(request)
        inbox = self._inboxes[request.id] = deque()
        event: Event | None = None
        try:
            while not isinstance(event, FinishEvent):
                if inbox:
                    event = inbox.popleft()
                    yield event
                else:
                    for new in self.step():
                        self._inboxes[new.request_id].append(new)
        except KeyboardInterrupt:
            yield from [*inbox, *self.scheduler.abort(request.id)]
            raise
        finally:
            self.scheduler.abort(request.id)
            del self._inboxes[request.id]
