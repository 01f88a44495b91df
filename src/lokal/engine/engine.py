"""Requests in, events out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from lokal.engine.request import Event, FinishEvent, Request
from lokal.engine.scheduler import Plan, Scheduler


class Backend(Protocol):
    """The native side: KV cache, forward pass, samplers."""

    def decode(self, plan: Plan) -> Iterable[int]:
        """Compute a plan and sample a token for each of its chunks that asks for one.

        Raises:
            KeyboardInterrupt: Ctrl-C came while it ran.
        """


class Engine:
    """Runs any number of requests through one model; a single prompt is a batch of one."""

    def __init__(self, backend: Backend, scheduler: Scheduler) -> None:
        self.backend = backend
        self.scheduler = scheduler

    def add(self, request: Request) -> None:
        """Queue a request.

        Raises:
            ContextError: its prompt does not fit the context.
        """
        self.scheduler.add(request)

    def step(self) -> list[Event]:
        """Compute one batch."""
        plan = self.scheduler.plan()
        tokens = self.backend.decode(plan)
        return self.scheduler.advance(plan, tokens)

    def stream(self, request: Request) -> Iterator[Event]:
        """Run one request to its end; leaving the loop early, or Ctrl-C in it, aborts the request.

        On Ctrl-C the text that was held back and the final event still come, then the
        KeyboardInterrupt goes on.
        """
        self.add(request)
        finished = False
        try:
            while not finished:
                for event in self.step():
                    finished = isinstance(event, FinishEvent)
                    yield event
        except KeyboardInterrupt:
            finished = True
            yield from self.scheduler.abort(request.id)
            raise
        finally:
            if not finished:
                self.scheduler.abort(request.id)
