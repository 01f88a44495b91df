"""Many requests through one engine: what is asked for when, what comes back, and what is left."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from engine_fakes import FakeBackend, engine, engine_of, say, shape, text_of
from hypothesis import given
from hypothesis import strategies as st

from lokal.completion import Completion
from lokal.engine.engine import Engine
from lokal.engine.interrupt import Interrupt
from lokal.engine.plan import Plan
from lokal.engine.request import Event, FinishReason, Request
from lokal.engine.sequence import Sequence
from lokal.errors import ContextError, UsageError
from lokal.side_by_side import AHEAD, Answers, Take, answers, in_order

Ask = Callable[[], Request]


def named(text: str, name: object = "") -> Request:
    """A request for this text, with an id of its own: the scripted model looks at the beginning."""
    return say(f"{text}\0{name}", stop=("\0",))


def texts(found: Answers) -> list[str]:
    return [answer.text for _, answer in found]


def taking(requests: list[Request]) -> Take:
    """A `take` that has all requests at hand."""
    rest = iter(requests)
    return lambda _idle: next(rest, None)


def is_idle(running: Engine) -> bool:
    """Whether nothing is left of any request."""
    running.scheduler.check_integrity()
    return not running.scheduler.has_work and not running._inboxes


def refused() -> Request:
    raise UsageError("no", hint="no")


def run(running: Engine, interrupt: Interrupt | None = None) -> Callable[[Take], Answers]:
    return partial(answers, running, interrupt or Interrupt(), running.scheduler.shape.n_parallel)


def test_answers_come_as_they_finish() -> None:
    """A short one is there before a long one that was asked for first."""
    running, _ = engine(n_slots=2)
    requests = [named("a long answer"), named("b"), named("cc")]
    found = list(run(running)(taking(requests)))
    assert [answer.text for _, answer in found] == ["b", "cc", "a long answer"]
    assert [request for request, _ in found] == [requests[1], requests[2], requests[0]]
    assert {answer.finish_reason for _, answer in found} == {FinishReason.STOP}
    assert is_idle(running)


def test_nothing_to_ask_is_no_answer() -> None:
    """`take` is asked once, and told that nothing is under way."""
    running, backend = engine(n_slots=2)
    asked: list[bool] = []
    assert list(run(running)(lambda idle: asked.append(idle))) == []  # type: ignore[func-returns-value]
    assert asked == [True]
    assert backend.computed == []


@pytest.mark.parametrize("n_parallel", [1, 3])
def test_as_many_wait_as_run(n_parallel: int) -> None:
    """No more are taken, and there are always so many as long as there are more."""
    running, _ = engine(n_slots=n_parallel)
    rest = iter([named("abc"[: 1 + number % 3], number) for number in range(50)])
    open_when_asked: list[int] = []

    def take(idle: bool) -> Request | None:
        assert idle == (not running._inboxes)
        open_when_asked.append(len(running._inboxes))
        return next(rest, None)

    assert len(list(run(running)(take))) == 50
    assert set(open_when_asked[: 2 * n_parallel]) == set(range(2 * n_parallel))
    assert max(open_when_asked) == 2 * n_parallel - 1


def test_what_has_none_now_is_asked_again() -> None:
    """None ends nothing while others are under way; the next one is taken between two batches."""
    running, _ = engine(n_slots=2)
    replies = [named("one"), None, None, named("two"), None, None, None, None, None, None, None]
    asked: list[bool] = []

    def take(idle: bool) -> Request | None:
        asked.append(idle)
        return replies.pop(0) if replies else None

    assert texts(run(running)(take)) == ["one", "two"]
    # The first while idle; the last one ends it.
    assert asked[0]
    assert asked[-1]
    assert not any(asked[1:-1])
    assert is_idle(running)


def test_a_source_that_waits_is_waited_for_only_when_idle() -> None:
    """After a pause with nothing under way it goes on with what came then."""
    running, _ = engine(n_slots=2)
    sent = iter([named("one"), None, named("two"), named("three", 3), None])
    last: list[Request | None] = []

    def take(idle: bool) -> Request | None:
        if not idle:
            return None
        request = next(sent, None) or next(sent, None)  # blocks while there is none
        last.append(request)
        return request

    assert texts(run(running)(take)) == ["one", "two", "three"]
    assert last[-1] is None


@pytest.mark.parametrize("at", [0, 1, 4])
def test_an_error_of_the_source_leaves_nothing_under_way(at: int) -> None:
    """It goes on to the caller, and the engine answers the next one."""
    running, _ = engine(n_slots=2)
    rest = iter([named("one"), named("four"), named("three"), named("more", 1)])
    count = iter(range(10))

    def take(_idle: bool) -> Request | None:
        if next(count) == at:
            raise RuntimeError("source")
        return next(rest)

    with pytest.raises(RuntimeError, match="source"):
        list(run(running)(take))
    assert is_idle(running)
    assert text_of(running.stream(say("fine"))) == "fine"


def test_a_request_that_cannot_be_computed_is_the_caller_s_error() -> None:
    """Whoever takes checks first; nothing is left under way."""
    running, _ = engine(n_slots=2, n_ctx=16)
    long = named("x")._replace(tokens=tuple(range(16)))
    with pytest.raises(ContextError):
        list(run(running)(taking([named("one"), long])))
    assert is_idle(running)


def test_leaving_the_loop_gives_up_the_rest() -> None:
    """Answers that were not taken are not computed."""
    running, backend = engine(n_slots=2)
    found = run(running)(taking([named("a"), named("bbbbbbbb"), named("c", 3)]))
    assert next(found)[1].text == "a"
    computed = len(backend.computed)
    found.close()  # type: ignore[attr-defined]  # it is a generator
    assert is_idle(running)
    assert len(backend.computed) == computed


@pytest.mark.parametrize("step", [0, 1, 5])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_ctrl_c_gives_up_what_is_under_way(kind: type[BaseException], step: int) -> None:
    """Answers that were finished have come; nothing is left, and the engine goes on."""
    running, backend = engine(n_slots=2)
    backend.failures = [*[None] * step, kind()]
    got: list[str] = []
    with pytest.raises(kind):
        got.extend(answer.text for _, answer in run(running)(taking([named("a"), named("b" * 9)])))
    assert got == ["a"] * (step == 5)
    assert is_idle(running)
    assert text_of(running.stream(say("fine"))) == "fine"


def test_ctrl_c_in_the_last_batch_is_not_lost() -> None:
    """It was noted while native code ran: the answers come, then the KeyboardInterrupt."""
    interrupt = Interrupt()

    class Interrupted(FakeBackend):
        def decode(self, plan: Plan) -> list[int]:
            interrupt.request()
            return super().decode(plan)

    running, _ = engine()
    running.backend = Interrupted(running.scheduler.shape)
    got: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        got.extend(
            answer.text
            for _, answer in run(running, interrupt)(taking([named("")._replace(id="say:")]))
        )
    assert got == [""]
    assert is_idle(running)
    assert not interrupt.requested


def test_a_stream_beside_them_has_its_own_text() -> None:
    """Begun between two answers, gone on with after them, and neither disturbs the other."""
    running, _ = engine(n_slots=2)
    found = run(running)(taking([named("a"), named("bbbb"), named("cc"), named("dddddd")]))
    got = [next(found)[1].text]
    stream = running.stream(say("beside them"))
    events: list[Event] = [next(stream)]
    for _, answer in found:
        got.append(answer.text)
        events.append(next(stream))
    events.extend(stream)
    assert sorted(got) == ["a", "bbbb", "cc", "dddddd"]
    assert text_of(events) == "beside them"
    assert is_idle(running)


# -- in the order of what was asked


def asking(*words: str) -> list[Ask]:
    """What cannot be asked is written as "!"."""
    return [
        refused if word == "!" else partial(named, word, number)
        for number, word in enumerate(words)
    ]


WORDS = st.lists(st.sampled_from(["!", "", "a", "bb", "cccc", "ddddddddd"]), max_size=40)


@given(WORDS, st.integers(1, 3))
def test_answers_in_order(words: list[str], n_parallel: int) -> None:
    """One for each that was asked; what could not be asked has its error in its place."""
    running, _ = engine(n_slots=n_parallel)
    done = list(in_order(run(running), n_parallel, iter(asking(*words))))
    assert [answer.text for answer in done] == [word.removeprefix("!") for word in words]
    assert [isinstance(answer.error, UsageError) for answer in done] == [w == "!" for w in words]
    assert [answer.finish_reason is FinishReason.ERROR for answer in done] == [
        word == "!" for word in words
    ]
    assert is_idle(running)


@given(WORDS, st.integers(1, 3))
def test_no_more_is_asked_than_may_wait(words: list[str], n_parallel: int) -> None:
    """A slow answer holds up the reading, so that memory stays bounded."""
    running, _ = engine(n_slots=n_parallel)
    n_asked = n_yielded = 0

    def source() -> Iterator[Ask]:
        nonlocal n_asked
        for ask in asking("a slow answer that holds all others up", *words, *["x"] * 60):
            n_asked += 1
            assert n_asked - n_yielded <= AHEAD * n_parallel
            yield ask

    for _ in in_order(run(running), n_parallel, source()):
        n_yielded += 1
    assert n_yielded == n_asked == len(words) + 61


def test_the_window_is_used() -> None:
    """So many may wait for a slow one, and no fewer."""
    running, _ = engine(n_slots=2, n_ctx=200)
    n_asked = 0

    def source() -> Iterator[Ask]:
        nonlocal n_asked
        for ask in asking("slow" * 40, *["x"] * 60):
            n_asked += 1
            yield ask

    done = in_order(run(running), 2, source())
    assert next(done).text == "slow" * 40
    assert n_asked == 2 * AHEAD
    assert len(list(done)) == 60


def test_many_that_cannot_be_asked_do_not_end_it() -> None:
    """Even if they fill the window while nothing is under way."""
    running, _ = engine()
    words = [*["!"] * (3 * AHEAD), "fine", *["!"] * (2 * AHEAD)]
    done = list(in_order(run(running), 1, iter(asking(*words))))
    assert [answer.text for answer in done if not answer.error] == ["fine"]
    assert done[3 * AHEAD].text == "fine"
    assert len(done) == len(words)
    assert is_idle(running)


def test_an_error_while_asking_that_is_not_ours_goes_on() -> None:
    """A mistake of the program is no answer; nothing is left under way."""
    running, _ = engine(n_slots=2)

    def broken() -> Request:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(in_order(run(running), 2, iter([*asking("aaaa"), broken])))
    assert is_idle(running)


def test_leaving_answers_in_order_gives_up_the_rest() -> None:
    """At whatever moment."""
    running, _ = engine(n_slots=2)
    done = in_order(run(running), 2, iter(asking("a", "bbbbbb", "c", "dddd")))
    assert next(done).text == "a"
    done.close()  # type: ignore[attr-defined]  # it is a generator
    assert is_idle(running)


def test_thousands_of_answers_leave_nothing_behind() -> None:
    """What is alive does not grow with what was asked."""
    running, _ = engine_of(shape(4, n_ctx=16, n_batch=32, n_spare=4, share=True))
    source = (partial(named, "ab"[: number % 3], number) for number in range(5000))

    def n_alive() -> int:
        kinds = (Request, Sequence, Completion)
        return sum(isinstance(thing, kinds) for thing in gc.get_objects()) + len(running._inboxes)

    before = n_alive()
    alive: list[int] = []
    for number, answer in enumerate(in_order(run(running), 4, source)):
        assert answer.text == "ab"[: number % 3]
        if number % 1000 == 500:
            alive.append(n_alive() - before)
    assert len(alive) == 5
    assert max(alive) <= 4 * AHEAD * 4
    assert is_idle(running)
