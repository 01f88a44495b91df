"""Chat templates: messages to the text a model was trained on.

A template comes with the weights, so it is untrusted: it runs in Jinja's immutable sandbox. The
environment mirrors the one of `transformers` (`chat_template_utils.py`), for which templates are
written: trimmed blocks, loop controls, `tojson` that leaves HTML and unicode alone,
`raise_exception`, `strftime_now`, and the `generation` block.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lokal.errors import LoadError, RefusedError

if TYPE_CHECKING:
    pass

WORDS = 500
"""Characters of a template's own error message that are shown."""
INSTEAD = "--raw completes without a template, --template FILE gives another"

Message = Mapping[str, Any]
"""`role` and `content`, as in the OpenAI API."""


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
    """Render a conversation; BOS comes from the template, if it wants one.

    Raises:
        RefusedError: the template does not take these messages, in its own words.
        LoadError: the template is broken.
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
        raise LoadError(f"the chat template is broken: {words}", hint=INSTEAD) from error


def _with_reasoning(message: Message) -> Message:
    """A message whose reasoning has all the names that templates look for, as in transformers."""
    for name in ("reasoning_content", "thinking", "reasoning"):
        reasoning = message.get(name)
        if reasoning is not None:
            return {"thinking": reasoning, **message, "reasoning_content": reasoning}
    return message


def render_keeping_system(template: str, messages: Sequence[Message], **kwargs: Any) -> str:
    """Like `render`, and a system message is never lost.

    Some templates raise on a system message (Mistral 7B v0.1, Mixtral), some skip it; it is then
    put in front of the first user message, as their makers advise.
    """
    if not _shows_system(template, messages, **kwargs):
        messages = merge_system(messages)
    return render(template, messages, **kwargs)


def _shows_system(template: str, messages: Sequence[Message], **kwargs: Any) -> bool:
    """Whether all system texts come out; asked with a text that stands nowhere else."""
    n_system: int = sum(m["role"] == "system" for m in messages)
    if not n_system:
        return True
    mark = os.urandom(8).hex()
    probe = [{**m, "content": mark} if m["role"] == "system" else m for m in messages]
    try:
        return render(template, probe, **kwargs).count(mark) >= n_system
    except RefusedError:
        return False


def merge_system(messages: Sequence[Message]) -> list[Message]:
    """The messages with all system texts in front of the first user message."""
    system = [str(m["content"]) for m in messages if m["role"] == "system"]
    rest = [m for m in messages if m["role"] != "system"]
    for place, message in enumerate(rest):
        if message["role"] == "user":
            content = "\n\n".join([*system, str(message["content"])])
            return [*rest[:place], {**message, "content": content}, *rest[place + 1 :]]
    return [{"role": "user", "content": "\n\n".join(system)}, *rest]
