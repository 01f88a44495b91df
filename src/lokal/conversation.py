"""What the user said, as messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lokal.engine.chat import Message
from lokal.errors import UsageError


def conversation(prompt: str | Sequence[Message], system: str | None = None) -> list[Message]:
    """Messages out of what the user gave.

    Raises:
        UsageError: there are none, or one of them has no role or no text.
    """
    if not isinstance(prompt, str | Sequence):
        raise UsageError(f"the prompt is {prompt!r:.50}", hint="give a text or a list of messages")
    turns: list[Message] = (
        [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    )
    if not turns:
        raise UsageError("a conversation without messages", hint="give at least one")
    for number, turn in enumerate(turns, 1):
        for key in ("role", "content"):
            if not isinstance(turn, Mapping) or not isinstance(turn.get(key), str):
                raise UsageError(
                    f"message {number} has no {key}", hint="give each a role and a content, as text"
                )
    return [{"role": "system", "content": system}, *turns] if system else turns


class Conversation(NamedTuple):
    messages: list[Message]
    tools: list[dict[str, Any]]


def read_messages(text: str, name: str) -> Conversation:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{name} is no JSON: {error}", hint="x") from None
    if isinstance(value, dict):
        return Conversation(conversation(value["messages"]), value.get("tools") or [])
    return Conversation(conversation(value), [])
