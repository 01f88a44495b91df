"""Which tokens each slot holds where every slot has room for a whole context of its own.

Then no cell is shared, and a prefix is copied. Answers are the same as alone more often than in one
cache for all: attention adds up in the order of cells, which here is that of the tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lokal.engine.prefix import Copy, Match, Remove, common

# Tokens; fewer are computed sooner than a whole slot is copied.
WORTH_COPYING = 16


class SlotCache:
    """Stands in for `lokal.engine.prefix.PrefixCache`; there is always room for `n_ctx` tokens.

    A sequence takes the slot that is idle and holds most of its prompt already or, if one that is
    busy holds more, a copy of that.
    """

    def __init__(self, n_slots: int, n_ctx: int, *, share: bool) -> None:
        self.edits: list[Copy | Remove] = []
        self._n_ctx = n_ctx
        self._share = share
        self._tokens: list[list[int]] = [[] for _ in range(n_slots)]
        self._used = [0] * n_slots
        """When each slot was last needed; counts sequences."""
        self._idle = set(range(n_slots))
        self._clock = 0

    @property
    def least(self) -> int:
        """Tokens that a prompt must have in common with a slot, or it finds none there."""
        return WORTH_COPYING if len(self._tokens) > 1 else 1

    def match(self, tokens: list[int]) -> Match:
        """What `take` would find of a prompt."""
        return Match(self._find(tokens)[0], self._n_ctx)

    def held(self) -> list[int]:
        """The tokens of the idle slot that was in use last."""
        slot = max(self._idle, key=lambda slot: self._used[slot], default=None)
        return [] if slot is None else self._tokens[slot]

    def take(self, tokens: list[int], least: int | None = None) -> tuple[int, int]:
        """A slot for a sequence, and how many of its tokens that slot already holds.

        `least` stands in for the property of that name.
        """
        n_tokens, source = self._find(tokens, least)
        slot = source
        if not n_tokens or source not in self._idle:
            slot = min(self._idle, key=lambda slot: (self._used[slot], slot))
        if slot != source or not n_tokens:
            self._truncate(slot, 0)
        if slot != source and n_tokens:
            self.edits.append(Copy(source, slot, n_tokens))
            self._tokens[slot] = self._tokens[source][:n_tokens]
        self._truncate(slot, n_tokens)
        self._idle.remove(slot)
        self._touch(slot)
        return slot, n_tokens

    def extend(self, slot: int, tokens: Sequence[int]) -> None:
        """Tokens that were computed for a slot, after those that it holds."""
        self._tokens[slot] += tokens

    def drop(self, slot: int) -> None:
        """Free a slot, and all that it holds."""
        self._truncate(slot, 0)
        self._idle.add(slot)

    def keep(self, slot: int, wanted: Iterable[list[int]] = ()) -> None:  # noqa: ARG002 - nothing has to go
        """The sequence of a slot has ended; its tokens stay until the slot is taken."""
        if not self._share:
            self.drop(slot)
        self._idle.add(slot)
        self._touch(slot)

    def close_gap(self) -> tuple[int, int] | None:
        """Move the last busy slot to an idle one before it; returns both, None if there is none.

        llama.cpp computes streams together only where their numbers follow one another.
        """
        target = min(self._idle, default=len(self._tokens))
        source = max(set(range(target, len(self._tokens))) - self._idle, default=target)
        if source <= target:
            return None
        tokens = self._tokens[source]
        self._truncate(target, 0)
        if tokens:
            self.edits.append(Copy(source, target, len(tokens)))
            self._tokens[target] = list(tokens)
        self.drop(source)
        self._idle.remove(target)
        self._touch(target)
        return source, target

    def make_room(self, n_cells: int) -> bool:  # noqa: ARG002
        """Every slot has its own."""
        return True

    def clear(self) -> bool:
        """Give up all that idle slots hold; False if that is nothing."""
        holding = [slot for slot in self._idle if self._tokens[slot]]
        for slot in holding:
            self._truncate(slot, 0)
        return bool(holding)

    def check_integrity(self, owned: Mapping[int, Sequence[int]]) -> None:
        """Check everything: `owned` says what tokens the slots of running sequences hold.

        Raises:
            AssertionError: the books do not balance.
        """
        busy = set(range(len(self._tokens))) - self._idle
        wrong = [slot for slot, tokens in owned.items() if self._tokens[slot] != list(tokens)]
        if busy != set(owned) or wrong:
            raise AssertionError(f"the KV cache's books do not balance: {busy}, {wrong}")

    def _find(self, tokens: list[int], least: int | None = None) -> tuple[int, int]:
        """How many tokens of a prompt are in a slot, and in which; an idle one if it can be."""
        if not self._share:
            return 0, 0
        limit = len(tokens) - 1
        n_tokens, _, slot = max(
            (min(common(tokens, held), limit), slot in self._idle, slot)
            for slot, held in enumerate(self._tokens)
        )
        return (n_tokens, slot) if n_tokens >= (least or self.least) else (0, slot)

    def _truncate(self, slot: int, n_tokens: int) -> None:
        if len(self._tokens[slot]) > n_tokens:
            del self._tokens[slot][n_tokens:]
            self.edits.append(Remove(slot, n_tokens))

    def _touch(self, slot: int) -> None:
        self._clock += 1
        self._used[slot] = self._clock
