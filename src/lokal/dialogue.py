"""A conversation as it grows, shrinks and is kept; no terminal and no files."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lokal.conversation import conversation
from lokal.engine.chat import Message
from lokal.errors import UsageError

SYSTEM_ROLES = ("system", "developer")


class Fit(NamedTuple):
    """What it takes to fit: `n_dropped` of the oldest turns go, `n_tokens` are left."""

    n_dropped: int
    n_tokens: int


class Dialogue:
    """The system text and the turns; a turn is a user's message and all up to the next one.

    What stands before the first user's message, in a conversation from elsewhere, belongs to the
    first turn. Nothing but `system` itself changes the system text.
    """

    def __init__(self, system: str | None = None, messages: Sequence[Message] = ()) -> None:
        self.system = system
        self.turns: list[list[Message]] = []
        for message in messages:
            if not self.turns or (message["role"] == "user" and _user(self.turns[-1]) is not None):
                self.turns.append([])
            self.turns[-1].append(message)

    @property
    def messages(self) -> list[Message]:
        """All of it in OpenAI's form, the system text first."""
        return self.without(0)

    @property
    def waiting(self) -> bool:
        """Whether the last word is the user's."""
        return bool(self.turns) and self.turns[-1][-1]["role"] == "user"

    def ask(self, text: str) -> None:
        """Begin a turn."""
        self.turns.append([{"role": "user", "content": text}])

    def answer(self, text: str, reasoning: str | None = None) -> None:
        """Complete the last turn; the reasoning is kept beside the answer, never in it."""
        message = {"role": "assistant", "content": text}
        if reasoning:
            message["reasoning_content"] = reasoning
        self.turns[-1].append(message)

    def undo(self) -> list[Message]:
        """Take back the last turn, and return it; empty if there is none."""
        return self.turns.pop() if self.turns else []

    def unanswer(self) -> list[Message] | None:
        """Take back what follows the last user's message, to ask again; None if nobody asked."""
        at = _user(self.turns[-1]) if self.turns else None
        if at is None:
            return None
        turn = self.turns[-1]
        self.turns[-1], answer = turn[: at + 1], turn[at + 1 :]
        return answer

    def restore(self, answer: Sequence[Message]) -> None:
        """Put back what `unanswer` took."""
        self.turns[-1].extend(answer)

    def clear(self) -> None:
        """Forget every turn."""
        self.turns.clear()

    def fit(self, size: Callable[[Sequence[Message]], int], limit: int) -> Fit:
        """How many of the oldest turns must go so that `size`, in tokens, is at most `limit`.

        If any must, then so many that a third of the limit is free again: it is not to happen at
        every turn. The last one never goes, so that the result can still be too long.
        """
        last = max(len(self.turns) - 1, 0)
        n_tokens = size(self.messages)
        if n_tokens <= limit or not last:
            return Fit(0, n_tokens)
        goal = limit * 2 // 3
        fewer = range(1, last)
        n = 1 + bisect_left(fewer, True, key=lambda n: size(self.without(n)) <= goal)
        return Fit(n, size(self.without(n)))

    def without(self, n: int) -> list[Message]:
        """The messages as they are when the `n` oldest turns are dropped."""
        front: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        return front + [message for turn in self.turns[n:] for message in turn]

    def drop(self, n: int) -> None:
        """Forget the `n` oldest turns."""
        del self.turns[:n]

    def to_json(self, model: str) -> dict[str, Any]:
        """The conversation as it is saved: plain OpenAI messages, and who answered."""
        return {"model": model, "messages": self.messages}

    @classmethod
    def from_json(cls, value: Any) -> Dialogue:
        """What `to_json` made, or any object with `messages`, or just a list of them.

        System texts, wherever they stand, become the one in front.

        Raises:
            UsageError: it is none of these, or a message is none.
        """
        found = value.get("messages") if isinstance(value, dict) else value
        if not isinstance(found, list):
            raise UsageError(
                "no conversation", hint='give a list of messages, or {"messages": [...]}'
            )
        messages = conversation(found)
        system = [m["content"] for m in messages if m["role"] in SYSTEM_ROLES]
        rest = [m for m in messages if m["role"] not in SYSTEM_ROLES]
        return cls("\n\n".join(system) or None, rest)


def _user(turn: Sequence[Message]) -> int | None:
    """The place of the user's message in a turn."""
    return next((at for at, m in enumerate(turn) if m["role"] == "user"), None)
