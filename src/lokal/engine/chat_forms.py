"""The forms that one conversation can take, so that a template loses nothing of it.

Templates differ in what they know: a system text anywhere, only in front, or not at all; a content
of text or of parts; a call's arguments as a mapping or as text; a call beside an empty content or
beside none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Message = Mapping[str, Any]
"""`role` and `content`, as in the OpenAI API."""


def forms(template: str, messages: Sequence[Message]) -> Iterator[list[Message]]:
    """All forms of a conversation, the one that says it best first.

    The role `developer` is `system` to a template that does not name it. Arguments that come as
    JSON, as in OpenAI's API, are a mapping to most templates.
    """
    plain = [_plain(message, keeps_developer="developer" in template) for message in messages]
    for form in _system_forms(plain):
        calling = [message for message in form if message.get("tool_calls")]
        yield form
        if calling:
            silent = any(not message["content"] for message in calling)
            if silent:
                yield [_without_content(message) for message in form]
            yield (spelled := [_with_spelled_arguments(message) for message in form])
            if silent:
                yield [_without_content(message) for message in spelled]


def _system_forms(messages: list[Message]) -> Iterator[list[Message]]:
    yield messages
    system = [text for m in messages if is_system(m) if (text := m["content"])]
    if system:
        rest = [message for message in messages if not is_system(message)]
        if len(system) > 1 or not is_system(messages[0]):
            yield [{"role": "system", "content": "\n\n".join(system)}, *rest]
        yield merge_system(messages)


def is_system(message: Message) -> bool:
    """Whether a message is one of those that `merge_system` merges."""
    return message.get("role") in ("system", "developer")


def merge_system(messages: Sequence[Message]) -> list[Message]:
    """The messages with all system texts in front of the first user message."""
    system = [text for m in messages if is_system(m) if (text := text_of(m.get("content")))]
    rest = [message for message in messages if not is_system(message)]
    for place, message in enumerate(rest):
        if message.get("role") == "user":
            content = "\n\n".join([*system, text_of(message.get("content"))])
            return [*rest[:place], {**message, "content": content}, *rest[place + 1 :]]
    return [{"role": "user", "content": "\n\n".join(system)}, *rest]


def text_of(content: Any) -> str:
    """A content of text, of parts, or none, as text; parts are joined with newlines."""
    if isinstance(content, str | None):
        return content or ""
    return "\n".join(part["text"] for part in content if part.get("type") == "text")


def as_parts(messages: Sequence[Message]) -> list[Message]:
    """Texts as lists of one part, for templates that read nothing else."""
    return [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in messages]


def _plain(message: Message, keeps_developer: bool) -> Message:
    plain = {**message, "content": text_of(message.get("content"))}
    if not keeps_developer and message.get("role") == "developer":
        plain["role"] = "system"
    if message.get("tool_calls"):
        plain["tool_calls"] = [_with_arguments(call, _parsed) for call in message["tool_calls"]]
    return plain


def _with_spelled_arguments(message: Message) -> Message:
    if not message.get("tool_calls"):
        return message
    return {**message, "tool_calls": [_with_arguments(c, _spelled) for c in message["tool_calls"]]}


def _without_content(message: Message) -> Message:
    silent = message.get("tool_calls") and not message["content"]
    return {**message, "content": None} if silent else message


def _with_arguments(call: Any, change: Any) -> Any:
    function = call.get("function", {})
    if "arguments" not in function:
        return call
    return {**call, "function": {**function, "arguments": change(function["arguments"])}}


def _parsed(arguments: Any) -> Any:
    try:
        value = json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError):
        return arguments
    return value if isinstance(value, dict) else arguments


def _spelled(arguments: Any) -> Any:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def marked(messages: Sequence[Message], mark: str, calls: bool) -> tuple[list[Message], list[str]]:
    """The messages with a mark of its own on each that may be lost, and those marks.

    A system text is marked at its end, since templates look for words in it, and a call in its
    function's name.
    """
    marks: list[str] = []

    def on(text: str) -> str:
        marks.append(f"{mark}{len(marks)}z")
        return text + marks[-1]

    def one(message: Message) -> Message:
        if is_system(message) and message["content"]:
            return {**message, "content": on(message["content"])}
        if calls and message.get("tool_calls"):
            calling = [_with_named_function(call, on) for call in message["tool_calls"]]
            return {**message, "tool_calls": calling}
        return message

    return [one(message) for message in messages], marks


def marked_tools(tools: Sequence[Mapping[str, Any]], mark: str) -> tuple[list[Any], list[str]]:
    """The tools with a mark on the name of each, and the marks that there are then."""
    changed = [_with_named_function(tool, lambda name: name + mark) for tool in tools]
    return changed, [mark] * (changed != [*tools])


def _with_named_function(call: Any, name: Callable[[str], str]) -> Any:
    function = call.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        return call
    return {**call, "function": {**function, "name": name(function["name"])}}
