"""What a row asks for: `prompt` or `messages`, and how to answer them.

    prompt        a text                       messages      role and content, as in OpenAI's API
    system        goes in front; replaces --system, and "" means none
    max_tokens, temperature, top_p, top_k, min_p, ignore_eos, seed
    stop          a text or a list of texts    schema        a JSON Schema, as an object

A key whose value is null counts as not there. All other keys are for `--template`, which stands in
for `prompt` and `messages` alike. A row that has a system message of its own does without
--system; `developer` is another word for `system`. Content that comes as a list of text parts is
joined with newlines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import lokal.conversation
from lokal.batch.record import Record, listing
from lokal.batch.template import Template
from lokal.engine import constraint
from lokal.engine.chat import Message
from lokal.engine.constraint import Grammar
from lokal.engine.request import SamplingParams, check_seed
from lokal.errors import UsageError

SAMPLING = ("max_tokens", "temperature", "top_p", "top_k", "min_p", "ignore_eos")


class Content(NamedTuple):
    """What is asked of the model; `overrides` are fields of `SamplingParams`."""

    messages: tuple[Message, ...]
    overrides: Mapping[str, Any]
    seed: int | None
    grammar: Grammar | None

    def digest(self) -> str:
        """16 hex digits that are the same wherever the row stands and however it is spelled."""
        canonical = json.dumps(self, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def from_row(record: Record, template: Template | None, system: str | None) -> Content:
    """What a row of any format but OpenAI's asks for.

    Raises:
        UsageError: something it cannot have.
    """
    asks = record.asks
    messages = filled(record, template) if template else _messages_or_prompt(record)
    own = asks.get("system")
    if own is not None and not isinstance(own, str):
        raise UsageError("system is no text", hint='give a text, or "" for none')
    schema = asks.get("schema")
    return Content(
        finished(messages, own, system),
        sampling(asks),
        seed(asks),
        None if schema is None else schema_grammar(schema),
    )


def filled(record: Record, template: Template) -> tuple[Message, ...]:
    """Raises: UsageError: the row lacks a field of the template."""
    return ({"role": "user", "content": template.fill(record.fields)},)


def _messages_or_prompt(record: Record) -> tuple[Message, ...]:
    prompt, messages = record.asks.get("prompt"), record.asks.get("messages")
    if prompt is None and messages is None:
        raise UsageError(
            f"no prompt; the fields are: {listing(record.fields)}",
            hint="name one of them prompt or messages, or use --template '{field}'",
        )
    if prompt is not None and messages is not None:
        raise UsageError("both prompt and messages", hint="leave one of them out")
    if messages is not None:
        return conversation(messages)
    if not isinstance(prompt, str):
        raise UsageError("prompt is no text", hint="put it in quotes, or use --template '{prompt}'")
    return ({"role": "user", "content": prompt},)


def conversation(value: Any) -> tuple[Message, ...]:
    """Messages as the chat templates know them; keys of a message that we do not know stay.

    Raises:
        UsageError: they are no list, or one of them is no message.
    """
    if not isinstance(value, list) or not value:
        raise UsageError("messages is no list, or empty", hint="give at least one message")
    messages = lokal.conversation.conversation(value)
    return tuple({**m, "role": "system"} if m["role"] == "developer" else m for m in messages)


def finished(
    messages: tuple[Message, ...], own: str | None, system: str | None
) -> tuple[Message, ...]:
    """The conversation with the system text that holds: the row's `own` goes before `system`.

    Raises:
        UsageError: there are two, or nothing to answer.
    """
    has_system = any(message["role"] == "system" for message in messages)
    if own and has_system:
        raise UsageError("both system and a system message", hint="leave one of them out")
    if not any(m["content"].strip() for m in messages if m["role"] != "system"):
        raise UsageError("the prompt is empty", hint="give it some text, or remove the row")
    if own is None and not has_system:
        own = system
    if own:
        messages = ({"role": "system", "content": own}, *messages)
    if any("\0" in message["content"] for message in messages):
        raise UsageError("the prompt has a NUL character", hint="remove it")
    return messages


def sampling(asks: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `SamplingParams` that a row sets.

    Raises:
        UsageError: one of them is no number, no text, or out of range.
    """
    overrides = {key: asks[key] for key in SAMPLING if asks.get(key) is not None}
    if not isinstance(overrides.get("ignore_eos", True), bool):
        raise UsageError("ignore_eos is neither true nor false", hint="give one of them")
    stop = asks.get("stop")
    if stop is not None:
        texts = [stop] if isinstance(stop, str) else stop
        if not isinstance(texts, list) or not all(isinstance(t, str) and t for t in texts):
            raise UsageError("stop is no text", hint="give a text or a list of texts, none empty")
        overrides["stop"] = tuple(texts)
    SamplingParams(**overrides)
    return overrides


def seed(asks: Mapping[str, Any]) -> int | None:
    """Raises: UsageError: it is no whole number, or out of range."""
    value: int | None = asks.get("seed")
    if value is not None:
        check_seed(value)
    return value


def schema_grammar(schema: Any) -> Grammar:
    """A JSON Schema as it is compiled later; properties keep their order, which answers follow.

    Raises:
        UsageError: it is no object.
    """
    if not isinstance(schema, dict):
        raise UsageError("schema is no JSON object", hint='give {"type": "object", …}')
    return constraint.schema_grammar(schema)
