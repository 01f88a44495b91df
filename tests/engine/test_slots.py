"""Slots with a context each: what they share is copied, and no answer differs from one alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from engine_fakes import Bytes, FakeBackend, request, shape
from hypothesis import given
from hypothesis import strategies as st

import lokal
from lokal.engine import slots
from lokal.engine.engine import Engine
from lokal.engine.prefix import Copy, Remove
from lokal.engine.request import Event, FinishEvent
from lokal.engine.scheduler import Scheduler
from lokal.engine.slots import SlotCache

TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=12)


@pytest.fixture(autouse=True, scope="module")
def every_token_is_worth_copying() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slots, "WORTH_COPYING", 2)
        yield


def alike(one: list[int], other: list[int]) -> int:
    return next(
        (i for i, pair in enumerate(zip(one, other, strict=False)) if len({*pair}) > 1),
        min(len(one), len(other)),
    )


def carry_out(cache: SlotCache, native: list[list[int]]) -> None:
    """Make the edits, the way llama.cpp does."""
    for edit in cache.edits:
        if isinstance(edit, Copy):
            assert not native[edit.target]
            assert len(native[edit.source]) >= edit.n_tokens
            native[edit.target] = native[edit.source][: edit.n_tokens]
        else:
            del native[edit.slot][edit.start :]
    cache.edits.clear()


@given(st.lists(TOKENS, max_size=30), st.integers(1, 4), st.randoms(use_true_random=False))
def test_the_books_are_what_is_in_the_slots(
    prompts: list[list[int]], n_slots: int, random: Random
) -> None:
    """Sequences come and go in any order; each finds the most that any slot holds of it."""
    cache = SlotCache(n_slots, 12, share=True)
    native: list[list[int]] = [[] for _ in range(n_slots)]
    busy: dict[int, list[int]] = {}
    for prompt in prompts:
        while len(busy) == n_slots or (busy and random.random() < 0.4):
            slot = random.choice(list(busy))
            del busy[slot]
            leave = cache.keep if random.random() < 0.7 else cache.drop
            leave(slot)
        carry_out(cache, native)
        most = max(alike(prompt, tokens) for tokens in native)
        found = cache.match(prompt)
        slot, n_tokens = cache.take(prompt)
        carry_out(cache, native)
        most = min(most, len(prompt) - 1)
        least = 2 if n_slots > 1 else 1  # a slot alone is never copied
        assert n_tokens == found.n_tokens == (most if most >= least else 0)
        assert slot not in busy
        assert native[slot] == prompt[:n_tokens]
        cache.extend(slot, prompt[n_tokens:])
        native[slot] += prompt[n_tokens:]
        busy[slot] = prompt
        cache.check_integrity(busy)
    cache.clear()
    carry_out(cache, native)
    assert all(native[slot] == busy.get(slot, []) for slot in range(n_slots))


def test_a_prefix_goes_on_where_it_is_or_is_copied() -> None:
    """An idle slot that holds it is taken; from a busy one it is copied to the oldest idle one."""
    cache = SlotCache(3, 64, share=True)
    first, _ = cache.take([1, 2, 3, 4])
    cache.extend(first, [1, 2, 3, 4])
    second, n_tokens = cache.take([1, 2, 3, 9])
    assert (n_tokens, cache.edits) == (3, [Copy(first, second, 3)])
    cache.keep(first)
    cache.edits.clear()
    assert cache.take([1, 2, 3, 4, 5]) == (first, 4)
    assert cache.edits == []


def test_what_was_needed_last_stays_longest() -> None:
    """A prompt that nobody has takes the slot that has been idle longest."""
    cache = SlotCache(2, 64, share=True)
    for tokens in ([1, 1, 1], [2, 2, 2]):
        slot, _ = cache.take(tokens)
        cache.extend(slot, tokens)
        cache.keep(slot)
    assert cache.take([1, 1, 1, 5])[1] == 3
    slot, n_tokens = cache.take([7, 7, 7])
    assert n_tokens == 0
    assert cache.edits[-1] == Remove(slot, 0)


def test_a_shared_beginning_is_computed_once() -> None:
    """By the engine, for requests that come at once."""
    room = shape(4, n_ctx=64, n_batch=32, share=True, streams=True)
    backend = FakeBackend(room)
    engine = Engine(backend, Scheduler(Bytes(), room))
    prefix = tuple(range(300, 320))
    for number in range(8):
        added = request(str(number), max_tokens=2, ignore_eos=True)
        engine.add(added._replace(tokens=(*prefix, 400 + number, 7)))
    events: list[Event] = []
    while engine.scheduler.has_work:
        events += engine.step()
    cached = sorted(e.usage.cached_tokens for e in events if isinstance(e, FinishEvent))
    assert cached == [0, *[20] * 7]
    assert len(backend.computed) == 20 + 8 * 2 + 8


def test_nobody_waits_for_what_is_not_worth_copying() -> None:
    """Prompts that begin with the same token or two begin in the same batch."""
    room = shape(3, n_ctx=64, n_batch=32, share=True, streams=True)
    scheduler = Scheduler(Bytes(), room)
    for number in range(3):
        added = request(str(number))
        scheduler.add(added._replace(tokens=(1, 300 + number, 5, 6)))
    assert len(scheduler.plan().chunks) == 3


@pytest.mark.parametrize("parallel", [2, 7, 48])
def test_greedy_answers_are_those_of_one_prompt_alone(llama: Path, parallel: int) -> None:
    """All of them, on the real llama.cpp, where prompts share little."""
    prompts = [f"{word} {number}" for number in range(12) for word in ("hello", "the world is")]
    fixed = {"temperature": 0, "max_tokens": 24, "ignore_eos": True}
    with lokal.load(str(llama), ctx=128, threads=1) as model:
        alone = [model.generate(prompt, **fixed).text for prompt in prompts]
    with lokal.load(str(llama), ctx=128, threads=1, parallel=parallel) as model:
        assert model.shape.streams
        assert [answer.text for answer in model.batch(prompts, **fixed)] == alone
