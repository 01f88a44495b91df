"""What the user said, as messages: those of OpenAI's API, checked.

    role         system, developer, user, assistant or tool
    content      a text, or a list of {"type": "text", "text": …}, which are joined with newlines;
                 an assistant that calls tools may have none, or null
    tool_calls   of an assistant: [{"function": {"name": …, "arguments": …}, …}, …]

All other keys stay as they are, for the chat template.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lokal.engine.chat import Message
from lokal.errors import UsageError

ROLES = ("system", "developer", "user", "assistant", "tool")


class Conversation(NamedTuple):
    """Messages, and the tools that the assistant may call, in OpenAI's form."""

    messages: list[Message]
    tools: list[dict[str, Any]]


def conversation(prompt: str | Sequence[Message], system: str | None = None) -> list[Message]:
    """Messages out of what the user gave.

    Raises:
        UsageError: there are none, or one of them is no message.
    """
    if not isinstance(prompt, str | Sequence):
        raise UsageError(f"the prompt is {prompt!r:.50}", hint="give a text or a list of messages")
    turns: Sequence[Any] = (
        [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    )
    if not turns:
        raise UsageError("a conversation without messages", hint="give at least one")
    messages = [_message(number, turn) for number, turn in enumerate(turns, 1)]
    return [{"role": "system", "content": system}, *messages] if system else messages


def read_messages(text: str, name: str) -> Conversation:
    """The conversation in a file: a list of messages, or an object with `messages` and `tools`.

    Raises:
        UsageError: it is no JSON, or no conversation; `name` says of which file.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"{name} is no JSON: {error.msg} at line {error.lineno}, column {error.colno}",
            hint='it holds [{"role": "user", "content": "…"}, …]',
        ) from None
    except (RecursionError, ValueError) as error:  # a number of thousands of digits
        raise UsageError(f"{name} is no JSON of use: {error}", hint="make it plainer") from None
    tools = value.get("tools") if isinstance(value, dict) else None
    messages = value.get("messages") if isinstance(value, dict) else value
    if not isinstance(messages, list):
        raise UsageError(
            f"{name} holds no messages",
            hint='give [{"role": "user", "content": "…"}, …], or an object with it as "messages"',
        )
    if not isinstance(tools, list | None) or not all(
        isinstance(tool, dict) for tool in tools or []
    ):
        raise UsageError(f"the tools of {name} are no list of objects", hint="see OpenAI's API")
    try:
        return Conversation(conversation(messages), tools or [])
    except UsageError as error:
        raise UsageError(f"{name}: {error.message}", hint=error.hint) from None


def _message(number: int, turn: Any) -> Message:
    if not isinstance(turn, Mapping):
        raise UsageError(f"message {number} is no object", hint="give it a role and a content")
    role = turn.get("role")
    if role not in ROLES:
        what = "no role" if role is None else f"the role {role!r:.50}"
        raise UsageError(f"message {number} has {what}", hint=f"the roles are {', '.join(ROLES)}")
    calls = turn.get("tool_calls")
    if calls is not None:
        _check_calls(number, role, calls)
    content = turn.get("content")
    if content is None and role == "assistant" and calls:
        content = ""
    return {**turn, "content": _text(number, content)}


def _check_calls(number: int, role: str, calls: Any) -> None:
    if role != "assistant":
        raise UsageError(
            f"message {number} has tool_calls, and the role {role}", hint="only assistants call"
        )
    if not isinstance(calls, list) or not all(_is_call(call) for call in calls):
        raise UsageError(
            f"the tool_calls of message {number} are no calls",
            hint='give [{"function": {"name": "…", "arguments": {…}}}]',
        )


def _is_call(call: Any) -> bool:
    function = call.get("function") if isinstance(call, Mapping) else None
    return (
        isinstance(function, Mapping)
        and isinstance(function.get("name"), str)
        and isinstance(function.get("arguments", ""), str | Mapping)
    )


def _text(number: int, content: Any) -> str:
    if content is None:
        raise UsageError(f"message {number} has no content", hint="give it a text")
    if isinstance(content, list):
        content = "\n".join(_part(number, part) for part in content)
    if not isinstance(content, str):
        raise UsageError(f"the content of message {number} is no text", hint="give it a text")
    return content


def _part(number: int, part: Any) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    text = part.get("text") if kind == "text" else None
    if not isinstance(text, str):
        raise UsageError(
            f"the content of message {number} has a part of type {kind!r:.50}",
            hint="lokal reads text only: parts of type text",
        )
    return text
