"""The scheduler: batches within bounds, every token once, one final event for every request."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

import pytest
from engine_fakes import (
    EOG,
    Bytes,
    FakeBackend,
    engine,
    engine_of,
    finish_of,
    next_token,
    request,
    say,
    shape,
    text_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from lokal.engine import slots
from lokal.engine.engine import Engine
from lokal.engine.plan import NoSlotError, Plan, Shape
from lokal.engine.prefix import common
from lokal.engine.reasoning import Reasoning, Tags
from lokal.engine.request import Event, FinishEvent, FinishReason, Request, TextEvent
from lokal.engine.scheduler import Scheduler
from lokal.errors import ContextError, UsageError

N_CTX = 12
THINKS = Reasoning(Tags("a", "bb"), closing=tuple(b"bb"))
REQUESTS = st.builds(
    lambda reasoning, **fields: request(**fields)._replace(reasoning=reasoning),
    st.sampled_from([None, None, THINKS, THINKS._replace(prompt="a")]),
    n_prompt=st.integers(1, N_CTX - 1),
    seed=st.integers(0, 50),
    max_tokens=st.none() | st.integers(1, 6),
    stop=st.lists(st.sampled_from(["ab", "ca", "bb", "c"]), max_size=2).map(tuple),
    ignore_eos=st.booleans(),
    reasoning_budget=st.none() | st.integers(0, 3),
)
# What a caller does between batches: a new request, an abort of the nth one, or nothing.
ACTIONS = st.lists(REQUESTS | st.integers(0, 9) | st.none(), max_size=25)


class Alone(NamedTuple):
    """What a request comes to."""

    thought: str
    answer: str
    reason: FinishReason
    n_tokens: int


def alone(request: Request) -> Alone:
    """What the fake model answers, worked out with no scheduler."""
    params, reasoning = request.params, request.reasoning
    n_most = min(params.max_tokens or N_CTX, N_CTX + 1 - len(request.tokens))
    budget = n_most if params.reasoning_budget is None else params.reasoning_budget
    thought = answer = ""
    undecided = reasoning is not None and not reasoning.prompt
    thinking = reasoning is not None and not undecided
    n_tokens = n_reasoned = 0
    while n_tokens < n_most:
        if thinking and n_reasoned >= budget and n_tokens + 2 < n_most:
            thinking, n_tokens = False, n_tokens + 2
        token = next_token(request, len(request.tokens) + n_tokens)
        letter = Bytes().piece(token).decode()
        n_tokens += 1
        if token == EOG and not params.ignore_eos:
            return Alone(thought, answer, FinishReason.STOP, n_tokens)
        if thinking:
            n_reasoned, thought = n_reasoned + 1, thought + letter
            if thought.endswith("bb"):
                thinking, thought = False, thought[:-2]
        elif undecided and letter in ("a", ""):
            undecided, thinking = not letter, bool(letter)
        else:
            undecided, answer = False, answer + letter
            ends = [answer.removesuffix(stop) for stop in params.stop if answer.endswith(stop)]
            if ends:
                return Alone(thought, min(ends, key=len), FinishReason.STOP, n_tokens)
    return Alone(thought, answer, FinishReason.LENGTH, n_tokens)


class Watched(FakeBackend):
    """Sees every plan of its scheduler."""

    scheduler: Scheduler

    def decode(self, plan: Plan) -> list[int]:
        # Decoding goes first: no prompt gets a place that a decoding sequence wants.
        planned = [chunk.sequence for chunk in plan.chunks]
        decoding = [s for s in self.scheduler._running if s.n_pending == 1]
        if not all(sequence in planned for sequence in decoding):
            assert all(sequence in decoding for sequence in planned)
        for chunk in plan.chunks:
            everything = chunk.sequence.tokens
            assert everything[chunk.start : chunk.start + len(chunk.tokens)] == chunk.tokens
            assert chunk.sample == (chunk.start + len(chunk.tokens) == len(everything))
        return super().decode(plan)


FAILURES = st.sampled_from([None, None, None, RuntimeError, NoSlotError])


@pytest.fixture(autouse=True, scope="module")
def short_prefixes_are_worth_copying() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slots, "WORTH_COPYING", 2)
        yield


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """From a context for everybody down to one for a single sequence."""
    n_parallel = draw(st.integers(1, 5))
    share = draw(st.booleans())
    n_batch = draw(st.integers(1, 9))
    if draw(st.booleans()):
        return shape(n_parallel, N_CTX, n_batch, share=share, streams=True)
    return shape(
        n_parallel,
        N_CTX,
        n_batch,
        n_cells=draw(st.integers(N_CTX, n_parallel * N_CTX)),
        n_spare=draw(st.integers(0, 3)) if share else 0,
        share=share,
    )


@settings(max_examples=200)
@given(ACTIONS, shapes(), st.lists(FAILURES, max_size=10), st.randoms(use_true_random=False))
def test_whatever_happens_every_answer_is_as_if_it_were_alone(
    actions: list[Request | int | None],
    room: Shape,
    failures: list[type[Exception] | None],
    random: Random,
) -> None:
    """Requests that come and go at any moment do not disturb each other.

    Whatever they share, however little room there is, and whichever batches fail.
    """
    backend = Watched(room)
    scheduler = backend.scheduler = Scheduler(Bytes(), room)
    running = Engine(backend, scheduler)
    requests: dict[str, Request] = {}
    events: list[Event] = []

    def step() -> None:
        kind = failures.pop() if failures else None
        if kind:
            backend.failures = [kind("no", hint="no") if kind is NoSlotError else kind()]
        with contextlib.suppress(RuntimeError, NoSlotError):
            events.extend(running.step())
        backend.failures.clear()
        scheduler.check_integrity()

    for action in actions:
        if isinstance(action, Request):
            prefix = random.choice([r.tokens for r in requests.values()] or [()])
            prefix = prefix[: random.randint(0, len(prefix))]
            again = prefix and random.random() < 0.3
            tokens = prefix if again else (*prefix, *action.tokens)[: len(action.tokens)]
            added = action._replace(id=f"r{len(requests)}", tokens=tokens)
            requests[added.id] = added
            running.add(added)
        elif action is not None:
            events += scheduler.abort(f"r{action}")
        if scheduler.has_work:
            step()
    for _ in range(10_000):
        if not scheduler.has_work:
            break
        step()
    assert not scheduler.has_work
    for name, added in requests.items():
        own = [event for event in events if event.request_id == name]
        end = finish_of(own)
        expected = alone(added)
        assert end.usage.prompt_tokens == len(added.tokens)
        assert 0 <= end.usage.cached_tokens <= len(added.tokens)
        assert end.timings.prompt >= 0 <= end.timings.generate
        if end.reason is FinishReason.ABORTED:
            assert end.usage.completion_tokens < expected.n_tokens
        else:
            thoughts = [e for e in own if isinstance(e, TextEvent) and e.reasoning]
            answer = text_of(e for e in own if e not in thoughts)
            n_tokens = end.usage.completion_tokens
            assert Alone(text_of(thoughts), answer, end.reason, n_tokens) == expected
    # Idle: whichever way sequences ended, there is room for as many as before.
    for number in range(room.n_parallel):
        running.add(request(f"last{number}", n_prompt=1, max_tokens=1, ignore_eos=True))
    running.step()
    while scheduler.has_work:
        running.step()


def test_the_slot_of_a_finished_sequence_is_emptied_once() -> None:
    """Before the next batch, and not again."""
    running, backend = engine(n_slots=2)
    for _ in running.stream(request("a", max_tokens=2)):
        pass
    assert backend.emptied == []
    for _ in running.stream(request("b", max_tokens=2)):
        pass
    assert backend.emptied == [0]
    for _ in running.stream(request("c", max_tokens=2)):
        pass
    assert len(backend.emptied) == 2
    assert backend.ended == ["a", "b"]


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


def test_decoding_goes_before_a_prompt_that_has_begun() -> None:
    """A long prompt gets what is left of each batch."""
    running, _ = engine(n_slots=2, n_batch=4)
    running.add(request("first", n_prompt=2, ignore_eos=True))
    running.step()
    running.add(request("second", n_prompt=20))
    for _ in range(3):
        running.step()
        chunks = running.scheduler.plan().chunks
        assert [len(chunk.tokens) for chunk in chunks] == [1, 3]


def test_what_needs_one_token_goes_first_after_a_failure_too() -> None:
    """A batch that is made again begins with it, whoever came first."""
    running, backend = engine_of(shape(2, n_batch=4, n_spare=1, share=True))
    running.add(request("long", n_prompt=6))
    running.step()
    running.add(request("short", n_prompt=1)._replace(tokens=(7,)))
    backend.failures = [RuntimeError()]
    with pytest.raises(RuntimeError):
        running.step()
    chunks = running.scheduler.plan().chunks
    assert [(chunk.sequence.request.id, len(chunk.tokens)) for chunk in chunks] == [
        ("short", 1),
        ("long", 2),
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
    first = running.scheduler.plan()
    running.scheduler.undo(first)
    second = running.scheduler.plan()
    assert first.chunks == second.chunks
    assert len(first.chunks) == 2


def test_a_full_cache_makes_the_newest_wait() -> None:
    """It gives up its cells, and is computed again with all that it had written."""
    running, backend = engine_of(shape(2, n_ctx=12, n_cells=14, n_batch=16))
    running.add(request("old", n_prompt=5, max_tokens=6, ignore_eos=True))
    running.add(request("new", n_prompt=5, max_tokens=6, ignore_eos=True))
    events: list[Event] = []
    while running.scheduler.has_work:
        events += running.step()
    for name in ("old", "new"):
        assert finish_of([e for e in events if e.request_id == name]).usage == (5, 6, 0)
    ends = [e.request_id for e in events if isinstance(e, FinishEvent)]
    assert ends == ["old", "new"]
    assert len(backend.computed) > 2 * (5 + 5)  # a part of it twice


def ends(running: Engine) -> list[str]:
    """Run until nothing is left; the ids, in the order in which they ended."""
    events: list[Event] = []
    while running.scheduler.has_work:
        events += running.step()
        running.scheduler.check_integrity()
    return [event.request_id for event in events if isinstance(event, FinishEvent)]


def test_one_that_was_put_back_goes_on_before_those_that_came_later() -> None:
    """It stands at the head of the queue, and is computed before them."""
    running, _ = engine_of(shape(2, n_ctx=12, n_cells=14, n_batch=16))
    for name in ("old", "new", "late"):
        running.add(request(name, n_prompt=5, max_tokens=6, ignore_eos=True))
    assert ends(running) == ["old", "new", "late"]


def test_a_request_begins_when_there_is_room_for_more_than_its_prompt() -> None:
    """Not to be put back in the next batch: everybody under way needs a token then, it too."""
    for n_cells in range(16, 30):
        running, backend = engine_of(shape(3, n_ctx=16, n_cells=n_cells, n_batch=16))
        for name in ("a", "b", "c"):
            running.add(request(name, n_prompt=5, max_tokens=2, ignore_eos=True))
        assert ends(running) == ["a", "b", "c"]
        assert len(backend.computed) == 3 * (5 + 1)  # nothing twice


def test_a_prefix_that_can_be_given_up_is_room() -> None:
    """A prompt does not wait for what only stands there in case somebody asks for it."""
    running, backend = engine_of(shape(2, n_ctx=16, n_cells=24, n_batch=16, n_spare=2, share=True))
    list(running.stream(request("kept", n_prompt=12, max_tokens=1)))
    running.add(request("a", n_prompt=2, max_tokens=4, ignore_eos=True)._replace(tokens=(77, 78)))
    running.add(request("b", n_prompt=2, max_tokens=4, ignore_eos=True)._replace(tokens=(88,) * 13))
    running.step()
    assert (backend.n_cells, len(running.scheduler._waiting)) == (2 + 13, 0)
    assert ends(running) == ["a", "b"]


def test_cached_tokens_are_those_that_were_there_at_the_beginning() -> None:
    """One that is put back may find more later: its own words, or somebody's answer."""
    running, backend = engine_of(shape(2, n_ctx=32, n_batch=32, n_spare=2, share=True))
    running.add(say("hello you"))
    running.step()
    late = request("late", max_tokens=12, ignore_eos=True)
    running.add(late._replace(tokens=(0, 1, 2, *b"hello", 7)))
    events: list[Event] = []
    for _ in range(6):
        events += running.step()
    n_computed = len(backend.computed)
    backend.failures = [NoSlotError("no", hint="no")]
    events += running.step()
    assert len(backend.computed) == n_computed + 1 + (9 + 6 - 8)  # it found "hello" this time
    while running.scheduler.has_work:
        events += running.step()
    assert finish_of([e for e in events if e.request_id == "late"]).usage == (9, 12, 3)


def test_a_prompt_that_shares_nothing_is_seen_to_at_its_first_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Thousands of prompts may wait; each is looked at before every batch."""
    compared: list[object] = []

    def counted(one: list[int], other: list[int], start: int = 0) -> int:
        compared.append(one)
        return common(one, other, start)

    monkeypatch.setattr("lokal.engine.scheduler.common", counted)
    running, _ = engine_of(shape(2, n_ctx=64, n_batch=16, n_spare=2, share=True))
    long = request("long", n_prompt=40)
    running.add(long._replace(tokens=(99, *long.tokens)))
    for number in range(50):
        running.add(request(str(number)))
    running.step()
    assert len(running.scheduler._waiting) == 50
    running.step()
    running.step()
    assert compared == []


def test_a_prompt_waits_for_its_beginning_that_somebody_computes() -> None:
    """Four requests with one prefix that come at once compute it once."""
    running, backend = engine_of(shape(4, n_ctx=32, n_batch=8, n_spare=2, share=True))
    prefix = tuple(range(100, 120))
    for number in range(4):
        added = request(str(number), max_tokens=2, ignore_eos=True)
        running.add(added._replace(tokens=(*prefix, number, 7)))
    events: list[Event] = []
    while running.scheduler.has_work:
        events += running.step()
    cached = [e.usage.cached_tokens for e in events if isinstance(e, FinishEvent)]
    assert sorted(cached) == [0, 20, 20, 20]
    assert len(backend.computed) == 20 + 4 * 2 + 4  # and the first token of each answer


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("n_prompt", [1, 3, 9])
def test_a_prompt_that_several_ask_is_computed_once(n_prompt: int, streams: bool) -> None:
    """Each answer begins with what its own seed takes from the same logits."""
    running, backend = engine_of(
        shape(4, n_cells=256, n_spare=0 if streams else 2, share=True, streams=streams)
    )
    asked = [
        request(str(seed), n_prompt=n_prompt, seed=seed, max_tokens=3, ignore_eos=True)
        for seed in range(4)
    ]
    for each in asked:
        running.add(each)
    events: list[Event] = []
    for _ in range(-(-n_prompt // 8)):
        events += running.step()
    assert backend.computed == list(range(n_prompt))
    while running.scheduler.has_work:
        events += running.step()
        running.check_integrity()
    for each in asked:
        own = [event for event in events if event.request_id == each.id]
        assert text_of(own) == alone(each).answer
    cached = [event.usage.cached_tokens for event in events if isinstance(event, FinishEvent)]
    assert sorted(cached) == [0, *[n_prompt] * 3]


def test_a_prompt_whose_reasoning_is_closed_at_once_is_computed_once() -> None:
    """What closes it is known before the first token is sampled."""
    running, backend = engine_of(shape(4, n_batch=32, share=True, streams=True))
    for seed in range(4):
        asked = request(str(seed), n_prompt=8, seed=seed, reasoning_budget=0, max_tokens=6)
        running.add(asked._replace(reasoning=THINKS._replace(prompt="a")))
    running.step()
    assert backend.computed == [*range(8), *b"bb"]


def test_a_twin_needs_no_room_in_a_batch() -> None:
    """Others may have used it up before its turn comes."""
    running, backend = engine_of(shape(3, n_batch=8, share=True, streams=True))
    for name, n_prompt in (("a", 8), ("b", 12), ("c", 8)):
        asked = request(name, n_prompt=n_prompt, max_tokens=1, ignore_eos=True)
        first = 100 if name == "b" else 0
        running.add(asked._replace(tokens=tuple(range(first, first + n_prompt))))
    while running.scheduler.has_work:
        running.step()
    assert sorted(backend.computed) == [*range(8), *range(100, 112)]


def test_a_prompt_with_another_constraint_is_computed_for_itself() -> None:
    """Its logits get another mask."""

    class Anything:
        def matcher(self) -> None:
            return None

    running, _ = engine_of(shape(2, share=True, streams=True))
    running.add(request("free"))
    running.add(request("bound")._replace(constraint=Anything()))
    assert not any(chunk.twins for chunk in running.scheduler.plan().chunks)


def test_a_tree_of_prefixes_is_computed_once() -> None:
    """A system prompt, documents, questions: even when they come one after another."""
    running, backend = engine_of(shape(2, n_ctx=64, n_cells=128, n_batch=16, n_spare=8, share=True))
    system = tuple(range(1000, 1010))
    rows = [
        (*system, *(2000 + 100 * document + i for i in range(15)), 3000 + question, 1)
        for question in range(4)
        for document in range(3)
    ]
    for number, tokens in enumerate(rows):
        running.add(request(str(number), max_tokens=1)._replace(tokens=tokens))
    while running.scheduler.has_work:
        running.step()
        running.scheduler.check_integrity()
    # Documents first come two at a time, so that the second waits only for the system prompt.
    assert len(backend.computed) == 10 + 3 * 15 + len(rows) * 2


def test_no_slot_is_answered_with_something_smaller() -> None:
    """What is kept goes first, then the newest; in the end it is an error."""
    running, backend = engine_of(shape(2, n_ctx=32, n_batch=8, n_spare=1, share=True))
    no = NoSlotError("no", hint="no")
    assert text_of(running.stream(say("kept"))) == "kept"
    backend.failures = [no, no, no]
    for word in ("one", "two"):
        running.add(say(word))
    events: list[Event] = []
    while running.scheduler.has_work:
        events += running.step()
    assert {
        text_of(e for e in events if e.request_id == f"say:{word}") for word in ("one", "two")
    } == {
        "one",
        "two",
    }
    backend.failures = [no] * 10
    with pytest.raises(NoSlotError):
        list(running.stream(say("never")))
    backend.failures.clear()
    assert text_of(running.stream(say("fine"))) == "fine"


def test_what_is_kept_goes_before_anybody_is_put_back() -> None:
    """A batch that found no place: both sequences go on, and are not computed twice."""
    running, backend = engine_of(shape(2, n_ctx=32, n_batch=8, n_spare=1, share=True))
    list(running.stream(say("kept")))
    backend.computed.clear()
    for word in ("one", "two"):
        running.add(say(word)._replace(tokens=tuple(word.encode())))
    running.step()
    backend.failures = [NoSlotError("no", hint="no")]
    ends(running)
    assert len(backend.computed) == 2 * (3 + 3)  # and what was kept is gone
    assert backend.n_cells <= 2 * (3 + 3)


def test_a_batch_is_large_again_after_a_small_one_was_needed() -> None:
    """Once the request has ended that found no place."""
    running, backend = engine(n_batch=8)
    backend.failures = [NoSlotError("no", hint="no")] * 2
    running.add(request("a", n_prompt=20, max_tokens=1))
    running.step()
    assert len(backend.computed) == 2
    ends(running)
    running.add(request("b", n_prompt=20))
    assert running.scheduler.plan().n_tokens == 8


def test_a_cache_that_refuses_long_prompts_is_given_short_chunks() -> None:
    """For as long as it takes: one chunk that fits does not make the next one longer."""

    class Narrow(FakeBackend):
        def decode(self, plan: Plan) -> list[int]:
            if plan.n_tokens > 4:
                self.failures = [NoSlotError("no", hint="no")]
            return super().decode(plan)

    for share in (False, True):
        room = shape(2, n_ctx=64, n_batch=32, n_spare=share, share=share)
        backend = Narrow(room)
        running = Engine(backend, Scheduler(Bytes(), room))
        running.add(request("a", n_prompt=30, max_tokens=2))
        for _ in range(100):
            if running.scheduler.has_work:
                running.step()
        assert not running.scheduler.has_work


def test_those_that_a_failure_stops_keep_their_order() -> None:
    """The oldest goes on first."""
    running, backend = engine(n_slots=3, n_batch=32)
    for name in "abc":
        running.add(request(name, max_tokens=4, ignore_eos=True))
    for _ in range(3):
        running.step()
    backend.failures = [RuntimeError()]
    with pytest.raises(RuntimeError):
        running.step()
    assert [c.sequence.request.id for c in running.scheduler.plan().chunks] == ["a", "b", "c"]
