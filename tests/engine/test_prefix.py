"""The books of the KV cache: checked against cells that only the edits move."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lokal.engine.prefix import Copy, PrefixCache, Remove, common

TOKENS = st.lists(st.integers(0, 1), min_size=1, max_size=8)


class Cell:
    """A cell of the native cache; slots that share a prefix hold the same ones."""

    def __init__(self, token: int, used: int) -> None:
        self.token = token
        self.used = used
        self.found = False


class Slots:
    """The native cache as lists of cells: `make` does one edit and refuses what cannot be."""

    def __init__(self, n_slots: int) -> None:
        self.cells: list[list[Cell]] = [[] for _ in range(n_slots)]

    def make(self, edit: Copy | Remove) -> None:
        if isinstance(edit, Copy):
            assert edit.source != edit.target
            assert not self.cells[edit.target]
            assert 0 < edit.n_tokens <= len(self.cells[edit.source])
            self.cells[edit.target] = self.cells[edit.source][: edit.n_tokens]
        else:
            assert edit.start < len(self.cells[edit.slot])
            del self.cells[edit.slot][edit.start :]

    def tokens(self, slot: int) -> list[int]:
        return [cell.token for cell in self.cells[slot]]

    def count(self, slots: Iterable[int]) -> int:
        """Different cells that these slots hold."""
        return len({cell for slot in slots for cell in self.cells[slot]})


def alike(one: list[int], other: list[int]) -> int:
    """How many tokens two lists have in common at their beginnings, counted one by one."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


class Model(RuleBasedStateMachine):
    """Does everything to a cache that a scheduler may do, and knows what must come of it.

    It never looks into the tree. Where the cache may choose, the choice must be a right one.
    """

    @initialize(n_slots=st.integers(1, 5), n_cells=st.integers(6, 40), share=st.booleans())
    def begin(self, n_slots: int, n_cells: int, share: bool) -> None:
        self.n_slots, self.n_cells, self.share = n_slots, n_cells, share
        self.cache = PrefixCache(n_slots, n_cells, share=share)
        self.slots = Slots(n_slots)
        self.owned: dict[int, list[int]] = {}
        """The tokens of every slot whose sequence is under way."""
        self.latest: int | None = None
        self.clock = 0

    def kept(self) -> list[int]:
        """Slots that hold cells for nobody."""
        return [s for s in range(self.n_slots) if s not in self.owned and self.slots.cells[s]]

    def before(self) -> list[list[Cell]]:
        return [list(cells) for cells in self.slots.cells]

    def make_edits(self) -> None:
        while self.cache.edits:
            self.slots.make(self.cache.edits.pop(0))
        if self.latest is not None and not self.slots.cells[self.latest]:
            self.latest = None

    def age(self, slot: int) -> int:
        return self.slots.cells[slot][-1].used

    @precondition(lambda self: self.share and any(self.owned.values()))
    @precondition(lambda self: len(self.owned) < self.n_slots)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        """All that another one holds, and the very same cells."""
        busy = sorted(slot for slot, tokens in self.owned.items() if tokens)
        source = data.draw(st.sampled_from(busy))
        before = self.before()
        slot = self.cache.fork(source)
        assert slot not in self.owned
        self.make_edits()
        self.clock += 1
        assert self.slots.cells[slot] == before[source]
        for cell in self.slots.cells[slot]:
            cell.used, cell.found = self.clock, True
        if self.latest == slot:
            self.latest = None
        self.owned[slot] = list(self.owned[source])

    @precondition(lambda self: len(self.owned) < self.n_slots)
    @rule(prompt=TOKENS)
    def take(self, prompt: list[int]) -> None:
        """The longest prefix, in a slot that nobody uses; at most the oldest is lost for it."""
        before, kept = self.before(), self.kept()
        found = [alike(self.slots.tokens(slot), prompt[:-1]) for slot in range(self.n_slots)]
        match = self.cache.match(prompt)
        slot, n_tokens = self.cache.take(prompt)
        assert n_tokens == match.n_tokens == (max(found) if self.share else 0)
        assert slot not in self.owned
        self.make_edits()
        self.clock += 1
        mine = self.slots.cells[slot]
        assert self.slots.tokens(slot) == prompt[:n_tokens]
        assert not n_tokens or any(cells[:n_tokens] == mine for cells in before)
        for cell in mine:
            cell.used, cell.found = self.clock, True
        if self.latest == slot:
            self.latest = None
        self.owned[slot] = prompt[:n_tokens]
        assert match.n_room == self.n_cells - self.slots.count(self.owned)
        others = [s for s in range(self.n_slots) if s != slot]
        assert all(self.slots.cells[other] == before[other] for other in others)
        if before[slot]:
            assert len(kept) + len(self.owned) == self.n_slots + 1  # no slot was empty
            holders = [s for s, cells in enumerate(before) if mine and cells[: len(mine)] == mine]
            spared = holders if len(holders) == 1 else []
            others = [s for s in kept if kept == spared or s not in spared]
            assert before[slot][-1].used == min(before[s][-1].used for s in others)

    @precondition(lambda self: self.owned)
    @rule(data=st.data(), tokens=TOKENS)
    def extend(self, data: st.DataObject, tokens: list[int]) -> None:
        """A slot goes on with cells of its own."""
        slot = data.draw(st.sampled_from(sorted(self.owned)))
        if self.slots.count(self.owned) + len(tokens) > self.n_cells:
            return
        self.make_room(len(tokens))
        self.cache.extend(slot, tokens)
        self.owned[slot] += tokens
        self.slots.cells[slot] += [Cell(token, self.clock) for token in tokens]

    @precondition(lambda self: self.owned)
    @rule(data=st.data(), wanted=st.lists(TOKENS, max_size=3))
    def keep(self, data: st.DataObject, wanted: list[list[int]]) -> None:
        """Of the one that ended before, what was found or is wanted stays, if it is not twice."""
        slot = data.draw(st.sampled_from(sorted(self.owned)))
        del self.owned[slot]
        expected, latest = self.before(), self.latest
        if not self.share:
            expected[slot] = []
        for cell in expected[slot]:
            cell.used = self.clock
        if latest is not None:
            cells, tokens = expected[latest], self.slots.tokens(latest)
            n_wanted = max((alike(tokens, prompt) for prompt in wanted), default=0)
            n_found = max((n for n, cell in enumerate(cells, 1) if cell.found), default=0)
            if n_wanted > n_found:
                for cell in cells[:n_wanted]:
                    cell.found, cell.used = True, self.clock
            size = max(n_wanted, n_found)
            twice = any(cells[:size] == expected[s][:size] for s in self.kept() if s != latest)
            expected[latest] = [] if twice else cells[:size]
        self.cache.keep(slot, iter(wanted))
        self.latest = slot
        self.make_edits()
        assert self.slots.cells == expected

    @precondition(lambda self: self.owned)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        """A sequence that gives up leaves nothing of its own, and others as they are."""
        slot = data.draw(st.sampled_from(sorted(self.owned)))
        del self.owned[slot]
        expected = self.before()
        expected[slot] = []
        self.cache.drop(slot)
        self.make_edits()
        assert self.slots.cells == expected

    @rule(n_cells=st.integers(0, 40))
    def make_room(self, n_cells: int) -> None:
        """The oldest of what is kept goes, no more than needed; what is used does not."""
        possible = n_cells <= self.n_cells - self.slots.count(self.owned)
        assert self.cache.make_room(n_cells) == possible
        while self.cache.edits:
            edit = self.cache.edits.pop(0)
            assert isinstance(edit, Remove)
            assert self.n_cells - self.slots.count(range(self.n_slots)) < n_cells
            assert self.age(edit.slot) == min(map(self.age, self.kept()))
            self.slots.make(edit)
        self.make_edits()
        assert possible or not self.kept()

    @rule()
    def clear(self) -> None:
        """All that is kept goes, nothing else."""
        expected = [cells if s in self.owned else [] for s, cells in enumerate(self.before())]
        assert self.cache.clear() >= (expected != self.slots.cells)
        self.make_edits()
        assert self.slots.cells == expected
        assert not self.cache.clear()

    @invariant()
    def the_books_are_right(self) -> None:
        if hasattr(self, "cache"):
            self.cache.check_integrity(self.owned)
            assert self.cache.n_free == self.n_cells - self.slots.count(range(self.n_slots))
            assert all(self.slots.tokens(slot) == own for slot, own in self.owned.items())


Model.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
test_whatever_happens_the_books_are_right = Model.TestCase


class Books:
    """A cache with its native side, for examples: prompts are words, a token for each letter."""

    def __init__(self, n_slots: int, n_cells: int = 1000, *, share: bool = True) -> None:
        self.cache = PrefixCache(n_slots, n_cells, share=share)
        self.slots = Slots(n_slots)

    def run(self, prompt: str) -> int:
        """Begin a sequence and compute its prompt; returns its slot."""
        slot, n_tokens = self.cache.take(list(prompt.encode()))
        self.cache.extend(slot, list(prompt.encode()[n_tokens:]))
        self.make_edits()
        self.slots.cells[slot] += [Cell(token, 0) for token in prompt.encode()[n_tokens:]]
        return slot

    def end(self, slot: int, *wanted: str) -> None:
        self.cache.keep(slot, [list(prompt.encode()) for prompt in wanted])

    def answer(self, prompt: str, *wanted: str) -> int:
        """Run a sequence to its end."""
        slot = self.run(prompt)
        self.end(slot, *wanted)
        return slot

    def finds(self, prompt: str) -> int:
        """How many tokens of a prompt are there."""
        return self.cache.match(list(prompt.encode())).n_tokens

    def make_edits(self) -> None:
        while self.cache.edits:
            self.slots.make(self.cache.edits.pop(0))

    def held(self) -> list[str]:
        """What every slot that is not empty holds, in the order of the alphabet."""
        self.make_edits()
        words = (bytes(self.slots.tokens(slot)).decode() for slot in range(len(self.slots.cells)))
        return sorted(word for word in words if word)


def test_the_last_token_of_a_prompt_is_never_found() -> None:
    """It is computed again, because that gives the logits of the first token of the answer."""
    books = Books(3)
    books.answer("abcd")
    assert [books.finds(prompt) for prompt in ("abcd", "abcde", "abx", "a", "x")] == [3, 4, 2, 0, 0]
    slot, n_tokens = books.cache.take(list(b"abcd"))
    assert n_tokens == 3
    assert books.cache.edits == [Copy(0, slot, 3)]


def test_the_longest_of_several_prefixes_is_found() -> None:
    """Even if shorter ones begin alike, in runs of their own."""
    books = Books(6)
    slots = [books.run("ab1"), books.run("cd1"), books.run("ab2"), books.run("ab23")]
    assert books.finds("ab2345") == 4
    assert books.finds("ab1345") == 3
    for slot in slots:
        books.cache.drop(slot)
    books.cache.check_integrity({})
    assert books.cache.n_free == 1000


def test_sequences_that_compute_the_same_at_once_are_both_found() -> None:
    """When one of them goes, the other still has the prefix."""
    books = Books(3)
    (one, n_one), (two, n_two) = (books.cache.take(list(b"same")) for _ in range(2))
    assert n_one == n_two == 0
    for slot, tokens in ((one, b"sa"), (two, b"same")):
        books.cache.extend(slot, list(tokens))
    assert books.finds("same!") == 4
    books.cache.drop(two)
    assert books.finds("same!") == 2


def test_what_nobody_found_goes_when_the_next_one_ends() -> None:
    """Only the last answer stays as a whole; of others what was shared."""
    books = Books(8)
    books.answer("system. one")
    books.answer("stranger")
    assert books.held() == ["stranger"]
    books.answer("system. one")
    books.answer("system. two")
    assert books.held() == ["system. two"]
    books.answer("other")
    assert books.held() == ["other", "system. "]
    books.answer("another")
    assert books.held() == ["another", "system. "]


def test_what_two_kept_slots_share_is_kept_once() -> None:
    """A slot that would hold nothing but what another one has too is given up."""
    books = Books(8)
    for number in range(5):
        books.answer(f"system. {number}")
        assert len(books.held()) <= 2
    assert books.cache.n_free == 1000 - len("system. 4")


def test_what_a_running_sequence_shares_is_kept_all_the_same() -> None:
    """It may give up, and then nobody else would have it."""
    books = Books(4)
    books.answer("sys.1")
    running = books.run("sys.2")
    books.answer("x")
    assert books.held() == ["sys.", "sys.2", "x"]
    books.cache.drop(running)
    assert books.finds("sys.3") == 4


def test_what_a_waiting_prompt_will_find_is_kept() -> None:
    """Exactly so far as it has it in common, and also behind what was found before."""
    books = Books(8)
    books.answer("system. document. one")
    books.answer("x", "y", "system. document. two", "sys")
    assert books.held() == ["system. document. ", "x"]
    books.answer("system. 1")
    books.answer("system. 2", "system. 1, 2", "system. 1")
    assert "system. 1" in books.held()
    books.answer("z")
    assert books.held() == ["system. 1", "system. document. ", "z"]


def test_a_prompt_that_waits_for_less_than_was_found_takes_nothing_away() -> None:
    """What requests have shared stays beyond it."""
    books = Books(8)
    books.answer("system. document. one")
    books.answer("system. document. two")
    books.answer("x", "system. other")
    assert books.held() == ["system. document. ", "x"]


def test_what_goes_on_behind_a_prefix_is_not_shared_by_that() -> None:
    """Whoever found the prefix may be the last who holds it; its own words are nobody else's."""
    books = Books(2)
    books.answer("system. one")
    long = books.run("running")
    assert books.answer("system. two") != long  # it takes the place of the first one
    books.end(long)
    assert books.held() == ["running", "system. "]


def three(books: Books) -> None:
    """Keep three shared prefixes, in this order, and an answer that only ended last."""
    for name in "abc":
        books.answer(f"{name * 4}1")
        books.answer(f"{name * 4}2")
    books.answer("z")
    assert books.held() == ["aaaa", "bbbb", "cccc", "z"]


def test_the_least_recently_used_goes_first() -> None:
    """Use is when a request found it."""
    books = Books(8, 20)
    three(books)
    books.answer("aaaa3")
    books.answer("z")
    assert books.held() == ["aaaa", "bbbb", "cccc", "z"]
    kept = []
    for n_cells in (8, 12, 16, 20):
        assert books.cache.make_room(n_cells)
        kept.append(books.held())
    assert kept == [["aaaa", "cccc", "z"], ["aaaa", "z"], ["z"], []]


def test_an_answer_counts_as_used_when_it_ends() -> None:
    """Not when it began."""
    books = Books(8, 20)
    long = books.run("long")
    for name in ("aaaa", "bbbb"):
        books.answer(f"{name}1")
        books.answer(f"{name}2")
    books.end(long)
    assert books.held() == ["aaaa", "bbbb", "long"]
    books.cache.make_room(9)
    assert books.held() == ["bbbb", "long"]


def test_a_slot_for_a_new_sequence_is_taken_from_the_least_recently_used() -> None:
    """When all slots are taken, and only from what is kept."""
    books = Books(4)
    three(books)
    books.run("running")
    assert books.held() == ["bbbb", "cccc", "running", "z"]
    books.run("bbbb again")
    assert books.held() == ["bbbb", "bbbb again", "running", "z"]


def test_a_prefix_is_spared_by_whoever_needs_it() -> None:
    """The oldest slot goes, but not for a sequence that begins with what it holds."""
    books = Books(4)
    three(books)
    books.run("aa again")
    assert books.held() == ["aa again", "aaaa", "cccc", "z"]


def test_the_only_slot_is_taken_over() -> None:
    """Where there is no second one to copy to, the prefix stays where it is."""
    books = Books(1)
    books.answer("system. one")
    slot, n_tokens = books.cache.take(list(b"system. two"))
    assert (slot, n_tokens) == (0, 8)
    assert books.cache.edits == [Remove(0, 8)]
    assert books.held() == ["system. "]
    books.cache.check_integrity({0: list(b"system. ")})
    assert books.cache.match(list(b"x")).n_room == 992


def test_a_slot_in_use_is_not_taken_over() -> None:
    """The last kept slot goes to a stranger, those of running sequences stay."""
    books = Books(2)
    books.run("running")
    books.answer("old")
    books.run("runs too")
    assert books.held() == ["running", "runs too"]


def test_room_is_made_from_the_end() -> None:
    """The last run of a slot goes first; the prefix before it may still be of use."""
    books = Books(4, 20)
    books.answer("sys.1")
    running = books.run("sys.2")  # cuts the run of the first one
    assert books.held() == ["sys.1", "sys.2"]
    assert books.cache.n_free == 14
    assert books.cache.make_room(15)
    assert books.held() == ["sys.2"]  # what it shares costs no cell
    assert not books.cache.make_room(16)
    books.cache.check_integrity({running: list(b"sys.2")})


def test_eviction_keeps_the_common_beginning_of_what_it_cuts() -> None:
    """A slot whose last run goes still has what stands before it."""
    books = Books(4, 20)
    books.answer("sys.1")
    gone = books.run("sys.2")
    books.cache.drop(gone)  # nobody else holds "sys." now, but it is a run of its own
    assert books.held() == ["sys.1"]
    assert books.cache.make_room(16)
    assert books.held() == ["sys."]
    assert books.cache.make_room(17)
    assert books.held() == []


def test_no_more_goes_than_is_needed() -> None:
    """And nothing where there is room, or where nothing could be enough."""
    books = Books(8, 20)
    three(books)
    assert books.cache.make_room(7)
    assert books.cache.edits == []
    assert books.cache.make_room(8)
    assert books.held() == ["bbbb", "cccc", "z"]
    assert not books.cache.make_room(21)
    assert books.held() == []
    assert books.cache.n_free == 20


def test_clear_gives_up_what_is_kept_and_only_that() -> None:
    """It says whether there was anything."""
    books = Books(8)
    books.answer("system. one")
    books.run("system. two")
    assert books.cache.clear()
    assert books.held() == ["system. two"]
    assert not books.cache.clear()
    assert books.finds("system. one") == 8


def test_room_counts_what_would_be_given_up_but_not_what_is_found() -> None:
    """The prefix that a prompt goes on from cannot make room for the rest of it."""
    books = Books(8, 30)
    books.answer("system. one")
    assert books.cache.match(list(b"other")) == (0, 30)
    assert books.cache.match(list(b"system. two")) == (8, 22)
    books.run("system. two")
    assert books.cache.match(list(b"other")) == (0, 19)
    assert books.cache.match(list(b"system. one!")) == (11, 16)


def test_without_share_nothing_is_kept() -> None:
    """Nor found, not even in what runs."""
    books = Books(2, share=False)
    running = books.run("system. one")
    assert books.finds("system. two") == 0
    books.answer("system. two", "system. two")
    assert books.held() == ["system. one"]
    assert books.finds("system. two") == 0
    books.end(running)
    assert books.held() == []
    assert books.cache.n_free == 1000


@given(st.lists(st.integers(0, 1)), st.lists(st.integers(0, 1)), st.integers(0, 12))
def test_tokens_in_common_are_counted_from_the_beginning(
    one: list[int], other: list[int], start: int
) -> None:
    """As a loop would count them."""
    for extra in (other, one[start:] + other, one[start:][: len(other)]):
        assert common(one, extra, start) == alike(one[start:], extra)


@pytest.mark.parametrize("what", ["cells", "slots", "tokens", "owners"])
def test_books_that_do_not_balance_are_noticed(what: str) -> None:
    """By the check that runs when an engine is idle."""
    books = Books(2)
    slot = books.run("abc")
    books.cache.check_integrity({slot: list(b"abc")})
    wrong = {
        "cells": {slot: list(b"abc")},
        "slots": {slot: list(b"abc")},
        "tokens": {slot: list(b"abd")},
        "owners": {},
    }[what]
    if what == "cells":
        books.cache._n_used += 1
    if what == "slots":
        books.cache._free.clear()
    with pytest.raises(AssertionError, match=f"do not balance: {what}"):
        books.cache.check_integrity(wrong)
