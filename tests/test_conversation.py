"""Conversations from outside: OpenAI's messages, as a list or in a file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lokal.conversation import conversation, read_messages
from lokal.errors import UsageError

USER: dict[str, Any] = {"role": "user", "content": "Hi"}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


def test_every_role_and_form_of_content() -> None:
    """What a template may want to know of a message stays with it."""
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    given = [
        {"role": "system", "content": "s"},
        {"role": "developer", "content": parts},
        {**USER, "name": "Eve"},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "hm"},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "content": "4", "tool_call_id": "1"},
    ]
    messages = conversation(given)
    assert [m["content"] for m in messages] == ["s", "a\nb", "Hi", "", "", "4"]
    for before, after in zip(given, messages, strict=True):
        assert {**before, "content": ""} == {**after, "content": ""}


@pytest.mark.parametrize(
    ("value", "n_tools"),
    [
        ([USER], 0),
        ({"messages": [USER]}, 0),
        ({"messages": [USER], "tools": [TOOL], "model": "x", "temperature": 1}, 1),
        ({"messages": [USER], "tools": None}, 0),
    ],
)
def test_a_file_holds_messages_and_tools(value: Any, n_tools: int) -> None:
    """As a bare list, or as the body of a request; what else stands in it is nobody's business."""
    read = read_messages(json.dumps(value), "chat.json")
    assert read.messages == [USER]
    assert len(read.tools) == n_tools


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", r"chat.json is no JSON: Expecting value at line 1, column 1"),
        ('[\n{"role": }]', "at line 2, column 10"),
        ("[" * 100_000, "no JSON of use"),
        ("9" * 10_000, "no JSON of use"),
        ('"Hi"', "holds no messages"),
        ("{}", "holds no messages"),
        ("[]", "chat.json: a conversation without messages"),
        ('[{"role": "user"}]', "chat.json: message 1 has no content"),
        ('[{"role": "user", "content": "x"}, {"role": "bot", "content": "x"}]', "message 2 has"),
        ('{"messages": [{"role": "user", "content": "x"}], "tools": "f"}', "tools of chat.json"),
    ],
)
def test_a_file_that_is_no_conversation(text: str, what: str) -> None:
    """The message says which file, and where in it."""
    with pytest.raises(UsageError, match=what) as caught:
        read_messages(text, "chat.json")
    assert caught.value.hint
