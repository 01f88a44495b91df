"""Many requests through one engine, and their answers in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lokal.completion import Completion, completion, failed
from lokal.engine.engine import Engine, Inbox
from lokal.engine.interrupt import Interrupt
from lokal.engine.request import FinishEvent, Request
from lokal.errors import LokalError

AHEAD = 8  # answers per sequence that may wait for an earlier one

Take = Callable[[bool], Request | None]
Answers = Iterator[tuple[Request, Completion]]


def answers(
    engine: Engine,
    interrupt: Interrupt,
    n_parallel: int,
    take: Take,
    moved: Callable[[], object] = lambda: None,
) -> Answers:
    """Answer requests side by side, in the order in which they finish.

    `take(idle)` gives the next request, or None if it has none now. If `idle` is true nothing is
    under way, and None ends it. As many requests wait as run: what they share with those that run
    is kept for them. `moved` is called after every batch.

    Raises:
        KeyboardInterrupt: Ctrl-C; what was under way is given up.
    """
    under_way: dict[str, tuple[Request, Inbox]] = {}
    request: Request | None = None
    try:
        while True:
            while len(under_way) < 2 * n_parallel:
                request = take(not under_way)
                if request is None:
                    break
                under_way[request.id] = request, engine.open(request)
            if not under_way:
                break
            with interrupt.listening():
                engine.move()
            moved()
            for request, inbox in list(under_way.values()):
                if inbox and isinstance(inbox[-1], FinishEvent):
                    del under_way[request.id]
                    engine.close(request.id)
                    yield request, completion(request, inbox)
    finally:
        for request_id in [*under_way, request.id if request else ""]:
            engine.close(request_id)
    interrupt.check()
    engine.check_integrity()


def in_order(
    run: Callable[[Take], Answers], n_parallel: int, asking: Iterator[Callable[[], Request]]
) -> Iterator[Completion]:
    """The answers in the order of what was asked; what cannot be asked becomes one that failed."""
    numbered = enumerate(asking)
    places: dict[str, int] = {}
    done: dict[int, Completion] = {}
    n_yielded, more = 0, True

    def take(_idle: bool) -> Request | None:
        nonlocal more
        while more and len(places) + len(done) < AHEAD * n_parallel:
            number, ask = next(numbered, (-1, None))
            if ask is None:
                more = False
                break
            try:
                request = ask()
            except LokalError as error:
                done[number] = failed(error)
                continue
            places[request.id] = number
            return request
        return None

    while more or done:
        for request, answer in run(take):
            done[places.pop(request.id)] = answer
            while n_yielded in done:
                yield done.pop(n_yielded)
                n_yielded += 1
        while n_yielded in done:
            yield done.pop(n_yielded)
            n_yielded += 1
