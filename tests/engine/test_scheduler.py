"""The scheduler: batches within bounds, every token once, one final event for every request."""

from __future__ import annotations

import pytest
from engine_fakes import EOG, Bytes, FakeBackend, engine, finish_of, next_token, request, text_of
from hypothesis import given
from hypothesis import strategies as st

from lokal.engine.engine import Engine
from lokal.engine.request import Event, FinishReason, Request
from lokal.engine.scheduler import Plan, Scheduler
from lokal.errors import ContextError, UsageError

N_CTX = 12
REQUESTS = st.builds(
    request,
    n_prompt=st.integers(1, N_CTX - 1),
    seed=st.integers(0, 50),
    max_tokens=st.none() | st.integers(1, 6),
    stop=st.lists(st.sampled_from(["ab", "ca", "bb", "c"]), max_size=2).map(tuple),
    ignore_eos=st.booleans(),
)
# What a caller does between batches: a new request, an abort of the nth one, or nothing.
ACTIONS = st.lists(REQUESTS | st.integers(0, 9) | st.none(), max_size=25)


def alone(request: Request) -> tuple[str, FinishReason, int]:
    """What the fake model answers, worked out with no scheduler: text, reason, tokens."""
    written = b""
    for count in range(1, 1000):
        token = next_token(request, len(request.tokens) + count - 1)
        if token == EOG and not request.params.ignore_eos:
            return written.decode(), FinishReason.STOP, count
        written += Bytes().piece(token)
        text = written.decode()
        ends = [text.removesuffix(stop) for stop in request.params.stop if text.endswith(stop)]
        if ends:
            return min(ends, key=len), FinishReason.STOP, count
        if count == request.params.max_tokens or len(request.tokens) + count > N_CTX:
            return text, FinishReason.LENGTH, count
    raise AssertionError("endless")


def check_order(plan: Plan, running: int) -> None:
    """Decoding goes first, and no prompt gets a place that a decoding sequence wants."""
    prompts = [chunk.sequence.n_pending > 1 for chunk in plan.chunks]
    assert prompts == sorted(prompts)
    slots = [chunk.sequence.slot for chunk in plan.chunks]
    assert len(set(slots)) == len(slots) <= running


class Watched(FakeBackend):
    """Sees every plan, and which request got which slot."""

    def __init__(self, n_slots: int, n_ctx: int, n_batch: int) -> None:
        super().__init__(n_slots, n_ctx, n_batch)
        self.slots: dict[str, int] = {}

    def decode(self, plan: Plan) -> list[int]:
        check_order(plan, len(self.cache))
        self.slots |= {chunk.sequence.request.id: chunk.sequence.slot for chunk in plan.chunks}
        for chunk in plan.chunks:
            everything = chunk.sequence.tokens
            assert everything[chunk.start : chunk.start + len(chunk.tokens)] == chunk.tokens
            assert chunk.sample == (chunk.start + len(chunk.tokens) == len(everything))
        return super().decode(plan)


@given(ACTIONS, st.integers(1, 4), st.integers(1, 9))
def test_whatever_happens_every_answer_is_as_if_it_were_alone(
    actions: list[Request | int | None], n_slots: int, n_batch: int
) -> None:
    """Requests that come and go at any moment do not disturb each other."""
    backend = Watched(n_slots, N_CTX, n_batch)
    scheduler = Scheduler(Bytes(), n_slots=n_slots, n_ctx=N_CTX, n_batch=n_batch)
    running = Engine(backend, scheduler)
    requests: dict[str, Request] = {}
    events: list[Event] = []
    for action in actions:
        if isinstance(action, Request):
            added = action._replace(id=f"r{len(requests)}")
            requests[added.id] = added
            running.add(added)
        elif action is not None:
            events += scheduler.abort(f"r{action}")
        if scheduler.has_work:
            events += running.step()
    for _ in range(10_000):
        if not scheduler.has_work:
            break
        events += running.step()
    assert not scheduler.has_work
    for name, added in requests.items():
        own = [event for event in events if event.request_id == name]
        end = finish_of(own)
        text, reason, count = alone(added)
        assert end.usage.prompt_tokens == len(added.tokens)
        assert end.timings.prompt >= 0 <= end.timings.generate
        if end.reason is FinishReason.ABORTED:
            assert end.usage.completion_tokens < count
        else:
            assert (text_of(own), end.reason, end.usage.completion_tokens) == (text, reason, count)
    # Idle: all slots are free again, whichever way their sequences ended.
    backend.slots.clear()
    for number in range(n_slots):
        running.add(request(f"last{number}", n_prompt=1, max_tokens=2, ignore_eos=True))
    while scheduler.has_work:
        running.step()
    assert sorted(backend.slots.values()) == list(range(n_slots))


def test_a_released_slot_is_reported_once() -> None:
    """The slot of a finished sequence is emptied before the next batch, and not again."""
    running, backend = engine(n_slots=2)
    for _ in running.stream(request("a", max_tokens=2)):
        pass
    assert backend.released == []
    for _ in running.stream(request("b", max_tokens=2)):
        pass
    assert backend.released == [0]
    for _ in running.stream(request("c", max_tokens=2)):
        pass
    assert len(backend.released) == 2


def test_a_long_prompt_is_cut_into_chunks() -> None:
    """Only the last chunk of a prompt asks for a token."""
    running, _ = engine(n_batch=4)
    running.add(request(n_prompt=10))
    sizes = []
    for _ in range(3):
        plan = running.scheduler.plan()
        sizes += [(len(chunk.tokens), chunk.sample) for chunk in plan.chunks]
        running.scheduler.advance(plan, [97] if plan.chunks[0].sample else [])
    assert sizes == [(4, False), (4, False), (2, True)]


def test_decoding_goes_before_a_later_prompt() -> None:
    """A sequence under way is not held up by a long prompt that came after it."""
    running, _ = engine(n_slots=2, n_batch=4)
    running.add(request("first", n_prompt=2, ignore_eos=True))
    running.step()
    running.add(request("second", n_prompt=20))
    chunks = running.scheduler.plan().chunks
    assert [(chunk.sequence.request.id, len(chunk.tokens)) for chunk in chunks] == [
        ("first", 1),
        ("second", 3),
    ]


def test_the_context_ends_an_answer() -> None:
    """The last token that fits is sampled from a full context; both numbers add up."""
    running, backend = engine(n_ctx=8)
    events = list(running.stream(request(n_prompt=7, ignore_eos=True)))
    end = finish_of(events)
    assert (end.reason, end.usage.completion_tokens) == (FinishReason.LENGTH, 2)
    assert len(backend.cache[0]) == 8


def test_the_smallest_context_answers() -> None:
    """A context of two tokens holds a prompt of one."""
    running, _ = engine(n_ctx=2)
    end = finish_of(list(running.stream(request(n_prompt=1, ignore_eos=True))))
    assert end.usage.completion_tokens == 2


@pytest.mark.parametrize("n_prompt", [64, 65, 5000])
def test_a_prompt_that_does_not_fit_is_refused(n_prompt: int) -> None:
    """The message has both numbers, and nothing is queued."""
    running, _ = engine(n_ctx=64)
    with pytest.raises(ContextError, match=rf"has {n_prompt} tokens, the context holds 64"):
        running.add(request(n_prompt=n_prompt))
    assert not running.scheduler.has_work


def test_an_empty_prompt_is_refused() -> None:
    """llama.cpp has nothing to compute then."""
    running, _ = engine()
    with pytest.raises(UsageError, match="no tokens"):
        running.add(request(n_prompt=0))


def test_an_aborted_request_that_still_waited_gets_its_final_event() -> None:
    """No request goes without a reply."""
    running, _ = engine(n_slots=1)
    running.add(request("first"))
    running.add(request("second"))
    running.step()
    end = finish_of(running.scheduler.abort("second"))
    assert (end.request_id, end.reason, end.usage.completion_tokens) == ("second", "aborted", 0)
    assert running.scheduler.abort("second") == running.scheduler.abort("unknown") == []
    assert running.scheduler.has_work


def test_a_plan_that_failed_is_made_again() -> None:
    """Nothing counts as done before it was computed."""
    running, _ = engine(n_slots=2)
    for _ in running.stream(request("old", max_tokens=1)):
        pass
    running.add(request("a"))
    running.add(request("b"))
    first, second = running.scheduler.plan(), running.scheduler.plan()
    assert first == second
    assert first.released == [0]
    assert len(first.admitted) == 2
