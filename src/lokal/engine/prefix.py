"""Which token prefixes are in the KV cache, and which slots hold them.

A tree of runs of cells: a run is a stretch of tokens that was computed once, the path from the root
to it is what stands before. Slots (llama.cpp's sequence ids) that share a prefix share its runs.
It is a radix tree (as in SGLang's RadixAttention, arXiv:2312.07104) but for one thing: two runs
may begin with the same tokens, where two sequences computed them at the same time.

    root ─ "You are a clerk." ─┬─ document A ─┬─ question 1      slots 0
                               │              └─ question 2      slots 1
                               └─ document B ─── question 1      slots 2
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Copy(NamedTuple):
    """Slot `target` is to hold the first `n_tokens` of slot `source` too."""

    source: int
    target: int
    n_tokens: int


class Remove(NamedTuple):
    """Slot `slot` is to hold nothing from position `start` on."""

    slot: int
    start: int


class Match(NamedTuple):
    """Tokens of a prompt that are here, and cells that there would be for the rest of it."""

    n_tokens: int
    n_room: int


@dataclass(eq=False)
class _Run:
    """Cells with these tokens, one after another; `slots` hold all of them."""

    tokens: list[int]
    parent: _Run | None
    slots: set[int]
    children: list[_Run] = field(default_factory=list)
    found: bool = False
    """Whether a request found it here that did not compute it."""
    used: int = 0
    """When it was last needed; counts requests."""


class PrefixCache:
    """The KV cache by tokens: `n_cells` cells, held by `n_slots` slots.

    A slot is free, belongs to a sequence under way (`take` to `keep` or `drop`), or is kept: then
    its cells wait for a request that begins with the same tokens, until somebody needs the room.
    Whatever changes in the native cache stands in `edits`, in order; whoever makes the changes
    takes them off.

    Without `share` nothing is kept and nothing found.
    """

    def __init__(self, n_slots: int, n_cells: int, *, share: bool) -> None:
        self.n_cells = n_cells
        self.edits: list[Copy | Remove] = []
        self._share = share
        self._n_slots = n_slots
        self._root = _Run([], None, set())
        self._free = list(range(n_slots))
        self._tails: dict[int, _Run] = {}
        """The last run of every slot that is not free."""
        self._kept: set[int] = set()
        self._latest: int | None = None
        self._n_used = 0
        self._clock = 0

    @property
    def least(self) -> int:
        """Tokens that a prompt must have in common with a slot, or it finds none there."""
        return 1

    @property
    def n_free(self) -> int:
        """Cells with nothing in them."""
        return self.n_cells - self._n_used

    def match(self, tokens: list[int]) -> Match:
        """What `take` would find of a prompt; never its last token, because that gives logits."""
        if not self._kept:
            n_tokens = self._find(tokens)[0] if self._share else 0
            return Match(n_tokens, self.n_free)
        n_tokens, run = self._find(tokens)
        n_room = self.n_free + sum(len(run.tokens) for run in self._runs() if self._is_spare(run))
        for each in self._path(run):
            if self._is_spare(each):
                n_room -= min(len(each.tokens), n_tokens - self._start(each))
        return Match(n_tokens, n_room)

    def take(self, tokens: list[int], least: int = 1) -> tuple[int, int]:  # noqa: ARG002 - one is enough here
        """A slot for a sequence, and how many of its tokens that slot already holds."""
        n_tokens, run = self._find(tokens) if self._share else (0, self._root)
        self._clock += 1
        if n_tokens:
            run = self._cut(run, n_tokens - self._start(run))
            self._use(run, found=True)
        if not self._free:
            slot = self._oldest(spared=run)
            if run.slots == {slot}:  # nobody else has the prefix: it goes on in this slot
                self._forget(slot)
                self._truncate(slot, run)
                return slot, n_tokens
            self.drop(slot)
        slot = self._free.pop(0)
        self._tails[slot] = run
        if n_tokens:
            self.edits.append(Copy(min(run.slots), slot, n_tokens))
            for each in self._path(run):
                each.slots.add(slot)
        return slot, n_tokens

    def extend(self, slot: int, tokens: Sequence[int]) -> None:
        """Tokens that were computed for a slot, after those that it holds."""
        tail = self._tails[slot]
        # Behind what was found begins what nobody found, even where this slot alone has it left.
        if tail.slots != {slot} or tail.children or tail.found:
            tail = _Run([], tail, {slot}, used=self._clock)
            tail.parent.children.append(tail)  # type: ignore[union-attr]  # it was just given
            self._tails[slot] = tail
        tail.tokens += tokens
        self._n_used += len(tokens)

    def drop(self, slot: int) -> None:
        """Free a slot and every cell that it alone holds."""
        self._forget(slot)
        self._truncate(slot, self._root)
        del self._tails[slot]
        self._free.append(slot)

    def keep(self, slot: int, wanted: Iterable[list[int]] = ()) -> None:
        """The sequence of a slot has ended; its tokens stay as long as there is room.

        `wanted` are the prompts that wait. What no request has found so far and none of these
        will find stays only until the next sequence ends: cells that nobody looks at cost time in
        every batch.
        """
        if not self._share:
            self.drop(slot)
            return
        self._kept.add(slot)
        self._use(self._tails[slot])
        if self._latest is not None:
            self._trim(self._latest, wanted)
        self._latest = slot

    def make_room(self, n_cells: int) -> bool:
        """Give up what is kept, the least recently used first, until so many cells are free."""
        while self.n_free < n_cells and self._kept:
            self._evict()
        return self.n_free >= n_cells

    def clear(self) -> bool:
        """Give up all that is kept; False if that is nothing."""
        anything = bool(self._kept)
        for slot in list(self._kept):
            self.drop(slot)
        return anything

    def check_integrity(self, owned: Mapping[int, Sequence[int]]) -> None:
        """Check everything: `owned` says what tokens the slots of running sequences hold.

        Raises:
            AssertionError: the books do not balance.
        """
        runs = list(self._runs())
        _insist(self._n_used == sum(len(run.tokens) for run in runs) <= self.n_cells, "cells")
        _insist(sorted([*self._free, *self._tails]) == list(range(self._n_slots)), "slots")
        _insist(set(self._tails) == self._kept | set(owned), "owners")
        _insist(self._kept.isdisjoint(owned), "owners")
        for slot, tokens in owned.items():
            _insist(self._tokens(slot) == list(tokens), "tokens")
        for run in runs:
            holders = {slot for slot, tail in self._tails.items() if run in self._path(tail)}
            _insist(bool(run.tokens) and bool(holders) and run.slots == holders, "holders")

    # -- the tree

    def _is_spare(self, run: _Run) -> bool:
        """Whether no sequence under way needs a run."""
        return run.slots <= self._kept

    def _runs(self) -> Iterator[_Run]:
        stack = list(self._root.children)
        while stack:
            run = stack.pop()
            yield run
            stack += run.children

    def _path(self, run: _Run) -> Iterator[_Run]:
        """From a run up to the root, which is not part of it."""
        while run.parent is not None:
            yield run
            run = run.parent

    def _tokens(self, slot: int) -> list[int]:
        path = reversed(list(self._path(self._tails[slot])))
        return [token for run in path for token in run.tokens]

    def _start(self, run: _Run) -> int:
        """The position of a run's first token."""
        return sum(len(each.tokens) for each in self._path(run)) - len(run.tokens)

    def _find(self, tokens: list[int]) -> tuple[int, _Run]:
        """How many tokens of a prompt are here, and the run that has the last of them."""
        limit = len(tokens) - 1
        most, best = 0, self._root
        frontier = [(0, self._root)]
        while frontier:
            n_tokens, run = frontier.pop()
            for child in run.children:
                size = common(tokens, child.tokens, n_tokens)
                if min(n_tokens + size, limit) > most:
                    most, best = min(n_tokens + size, limit), child
                if size == len(child.tokens) and n_tokens + size < limit:
                    frontier.append((n_tokens + size, child))
        return most, best

    def _cut(self, run: _Run, size: int) -> _Run:
        """A run of the first `size` tokens, which the rest of a run follows."""
        if size == len(run.tokens):
            return run
        head = _Run(run.tokens[:size], run.parent, set(run.slots), [run], run.found, run.used)
        siblings = run.parent.children  # type: ignore[union-attr]  # the root is never cut
        siblings[siblings.index(run)] = head
        run.parent, run.tokens = head, run.tokens[size:]
        return head

    def _use(self, run: _Run, *, found: bool = False) -> None:
        for each in self._path(run):
            each.used = self._clock
            each.found |= found

    def _truncate(self, slot: int, last: _Run) -> None:
        """Let a slot hold nothing after `last`, which is on its path."""
        tail, self._tails[slot] = self._tails[slot], last
        if tail is last:
            return
        for run in self._path(tail):
            if run is last:
                break
            run.slots.remove(slot)
            if not run.slots:
                run.parent.children.remove(run)  # type: ignore[union-attr]  # not the root
                self._n_used -= len(run.tokens)
        self.edits.append(Remove(slot, self._start(last) + len(last.tokens)))

    # -- what is kept

    def _forget(self, slot: int) -> None:
        """A slot is not kept any more."""
        self._kept.discard(slot)
        if self._latest == slot:
            self._latest = None

    def _trim(self, slot: int, wanted: Iterable[list[int]]) -> None:
        """Keep of a slot what a request has found or will find, unless another one keeps it."""
        last = next((run for run in self._path(self._tails[slot]) if run.found), self._root)
        start = self._start(last) + len(last.tokens)
        tokens = self._tokens(slot)
        # Most prompts that wait differ at once from what nobody has found.
        beyond = [
            prompt for prompt in wanted if prompt[start : start + 1] == tokens[start : start + 1]
        ]
        n_wanted = max((common(tokens, prompt) for prompt in beyond), default=0)
        if n_wanted > start:
            run = next(run for run in self._path(self._tails[slot]) if self._start(run) < n_wanted)
            last = self._cut(run, min(n_wanted - self._start(run), len(run.tokens)))
            self._use(last, found=True)
        if last is self._root or len(last.slots & self._kept) > 1:
            self.drop(slot)
        else:
            self._truncate(slot, last)

    def _oldest(self, spared: _Run | None = None) -> int:
        """The slot whose end nobody has needed for longest.

        One that is all there is of the run `spared` only if there is no other.
        """
        return min(
            self._kept,
            key=lambda slot: (spared and spared.slots == {slot}, self._tails[slot].used),
        )

    def _evict(self) -> None:
        """Give up the last run of the slot that nobody has needed for longest."""
        slot = self._oldest()
        above = self._tails[slot].parent
        if above is None or above.parent is None or len(above.slots) > 1:
            self.drop(slot)
        else:
            self._truncate(slot, above)


def common(one: Sequence[int], other: Sequence[int], start: int = 0) -> int:
    """How many tokens `other` has in common at its beginning with what `one` has from `start` on.

    Both are lists, or both tuples, or both bytes.
    """
    low, high = 0, min(len(one) - start, len(other))
    if high <= 0 or one[start] != other[0]:
        return 0
    # Comparing slices is a hundred times as fast as a loop, so they are halved where they differ.
    while low < high:
        middle = (low + high + 1) // 2
        if one[start + low : start + middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _insist(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(f"the KV cache's books do not balance: {what}")
