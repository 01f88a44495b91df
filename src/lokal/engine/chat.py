"""Chat templates: messages to the text a model was trained on.

A template comes with the weights, so it is untrusted: it runs in a sandbox that has a meter.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

from lokal.engine.chat_forms import Message as Message
from lokal.engine.chat_forms import as_parts, forms, marked
from lokal.errors import LoadError, RefusedError

WORDS = 500
"""Characters of a template's own error message that are shown."""
INSTEAD = "--raw completes without a template, --template FILE gives another"


class _BrokenError(LoadError):
    """The template's code is wrong, or does not fit these messages."""


def render(
    template: str,
    messages: Sequence[Message],
    *,
    bos_token: str,
    eos_token: str,
    add_generation_prompt: bool = True,
    tools: Sequence[Mapping[str, Any]] | None = None,
    **kwargs: Any,
) -> str:
    """Render a conversation as it is; BOS comes from the template, if it wants one.

    `kwargs` are further variables of the template.

    Raises:
        RefusedError: the template does not take these messages, in its own words.
        LoadError: the template is broken, takes too long or makes too much text.
    """
    from lokal.engine import template_meter, template_sandbox  # jinja2 takes a while

    variables = {
        "messages": [_with_reasoning(message) for message in messages],
        "tools": tools,
        "documents": None,
        "add_generation_prompt": add_generation_prompt,
        "bos_token": bos_token,
        "eos_token": eos_token,
        **kwargs,
    }
    try:
        return template_sandbox.render(template, variables)
    except template_sandbox.RaisedError as error:
        raise RefusedError(
            f"the chat template refuses: {error!s:.{WORDS}}",
            hint="change the messages, or use --raw",
        ) from None
    except template_meter.TooMuchError as error:
        raise LoadError(f"the chat template {error}", hint=INSTEAD) from None
    except Exception as error:  # its code is not ours, so whatever it raises is its own fault
        words = str(error)[:WORDS] or type(error).__name__
        raise _BrokenError(f"the chat template is broken: {words}", hint=INSTEAD) from error


def _with_reasoning(message: Message) -> Message:
    """A message whose reasoning has all the names that templates look for, as in transformers."""
    for name in ("reasoning_content", "thinking", "reasoning"):
        reasoning = message.get(name)
        if reasoning is not None:
            return {"thinking": reasoning, **message, "reasoning_content": reasoning}
    return message


def render_keeping_system(template: str, messages: Sequence[Message], **kwargs: Any) -> str:
    """Like `render`, in a form of the conversation of which the template loses nothing.

    Some templates raise on a system message (Mistral 7B v0.1, Mixtral), or skip it. It is then
    moved to the front, or else put before the first user message, as their makers advise. Of calls
    of tools that no form shows, nothing is said: not every model knows them.

    Raises:
        RefusedError: the template does not take these messages, in its own words.
        LoadError: the template is broken, takes too long or makes too much text.
    """
    choices = list(forms(template, messages))
    if len(choices) == 1:
        return _render(template, choices[0], **kwargs)
    for calls in (True, False):
        for choice in choices:
            if _shows(template, choice, calls, **kwargs):
                return _render(template, choice, **kwargs)
    return _render(template, choices[-1], **kwargs)


def _render(template: str, messages: Sequence[Message], **kwargs: Any) -> str:
    if not _reads_text(template):
        messages = as_parts(messages)
    return render(template, messages, **kwargs)


def _shows(template: str, messages: Sequence[Message], calls: bool, **kwargs: Any) -> bool:
    """Whether all system texts, and all calls, come out; asked with marks on them."""
    probe, marks = marked(messages, os.urandom(8).hex(), calls)
    if not marks and not any(message.get("tool_calls") for message in messages):
        return True
    try:
        text = _render(template, probe, **kwargs)
    except (RefusedError, _BrokenError):
        return False
    return all(mark in text for mark in marks)


@functools.lru_cache(maxsize=8)
def _reads_text(template: str) -> bool:
    """Whether a content may be a text; a few templates read lists of parts only."""
    word = "17d4b1"
    ask = [{"role": "user", "content": word}]
    try:
        if word in render(template, ask, bos_token="", eos_token=""):
            return True
        return word not in render(template, as_parts(ask), bos_token="", eos_token="")
    except (RefusedError, _BrokenError):
        return True
