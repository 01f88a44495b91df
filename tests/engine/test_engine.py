"""The engine: streams that end, fail, or are left, and what is left of them."""

from __future__ import annotations

import contextlib

import pytest
from engine_fakes import engine, finish_of, request, say, text_of
from hypothesis import given
from hypothesis import strategies as st

from lokal.engine.request import Event, FinishReason
from lokal.errors import ContextError, SpaceError


def test_a_stream_is_text_and_then_the_end() -> None:
    """Text comes piece by piece; the final event is last and says why."""
    running, _ = engine()
    events = list(running.stream(say("hello")))
    assert text_of(events) == "hello"
    assert len(events) == 6
    end = finish_of(events)
    assert (end.reason, end.usage) == (FinishReason.STOP, (3, 6, 0))


def test_leaving_the_loop_aborts_the_request() -> None:
    """An iterator that is closed half-way leaves a free slot behind."""
    running, backend = engine()
    stream = running.stream(say("hello"))
    next(stream)
    stream.close()
    assert not running.scheduler.has_work
    assert text_of(running.stream(say("again"))) == "again"
    assert backend.emptied == [0]


def test_a_stream_that_was_never_started_takes_no_place() -> None:
    """A request is queued when its first event is asked for."""
    running, _ = engine()
    stream = running.stream(say("hello"))
    assert not running.scheduler.has_work
    assert text_of(running.stream(say("other"))) == "other"
    assert text_of(stream) == "hello"


def test_ctrl_c_lets_go_of_held_text_and_still_ends() -> None:
    """The text held back and the final event come before the KeyboardInterrupt."""
    running, backend = engine()
    backend.failures = [None, None, None, KeyboardInterrupt()]
    events: list[Event] = []
    with pytest.raises(KeyboardInterrupt):
        events.extend(running.stream(say("abcde", stop=("bcx",))))
    assert text_of(events) == "abc"
    assert finish_of(events).reason is FinishReason.ABORTED
    assert text_of(running.stream(say("more"))) == "more"


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("step", [0, 1, 3])
def test_the_engine_goes_on_after_any_failure(
    kind: type[BaseException], early: bool, step: int
) -> None:
    """A failure anywhere, even before slots were made ready, ends one request only."""
    running, backend = engine(n_batch=2)
    assert text_of(running.stream(say("before"))) == "before"
    for failures in ([], [None] * step):
        failure = kind()
        failure.early = early  # type: ignore[attr-defined]
        backend.failures = [*failures, failure]
        with pytest.raises(kind):
            list(running.stream(say("never")))
        assert not running.scheduler.has_work
    assert text_of(running.stream(say("fine"))) == "fine"


def test_a_failed_step_can_be_repeated() -> None:
    """Requests that run side by side survive a batch that found no memory."""
    running, backend = engine(n_slots=2)
    running.add(say("one"))
    running.add(say("two"))
    backend.failures = [SpaceError("no", hint="no"), None, SpaceError("no", hint="no")]
    events: list[Event] = []
    while running.scheduler.has_work:
        with contextlib.suppress(SpaceError):
            events += running.step()
    assert text_of(e for e in events if e.request_id == "say:one") == "one"
    assert text_of(e for e in events if e.request_id == "say:two") == "two"


def test_a_refused_prompt_leaves_nothing_behind() -> None:
    """The request after one that was too long is answered."""
    running, _ = engine(n_ctx=16)
    with pytest.raises(ContextError):
        next(running.stream(request("x", n_prompt=16)))
    assert text_of(running.stream(say("fine"))) == "fine"
    with pytest.raises(ContextError):  # the id is free again as well
        next(running.stream(request("x", n_prompt=16)))


@given(st.lists(st.integers(0, 2), max_size=30), st.integers(1, 3))
def test_streams_side_by_side_get_their_own_text(turns: list[int], n_slots: int) -> None:
    """However their turns alternate, and even with one slot for all of them."""
    running, _ = engine(n_slots=n_slots)
    words = ["hello", "you", "goodbye"]
    streams = [running.stream(say(word)) for word in words]
    got: list[list[Event]] = [[], [], []]
    for turn in turns:
        with contextlib.suppress(StopIteration):
            got[turn].append(next(streams[turn]))
    for events, stream, word in zip(got, streams, words, strict=True):
        events.extend(stream)
        assert text_of(events) == word
        finish_of(events)


def test_a_stream_left_half_way_does_not_disturb_another() -> None:
    """Closing one of two streams leaves the other with its whole answer."""
    running, _ = engine()
    first, second = running.stream(say("first")), running.stream(say("second"))
    next(first)
    assert next(second)[1] == "s"  # the whole of the first one was computed for it
    first.close()
    assert text_of(second) == "econd"


def test_one_id_is_one_stream() -> None:
    """Two streams with the same id could not be told apart."""
    running, _ = engine()
    first = running.stream(say("a"))
    next(first)
    with pytest.raises(ValueError, match="already"):
        next(running.stream(say("a")))
    list(first)
    assert text_of(running.stream(say("a"))) == "a"
