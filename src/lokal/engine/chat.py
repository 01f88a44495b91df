"""Chat templates: messages to the text a model was trained on.

A template comes with the weights, so it is untrusted: it runs in Jinja's immutable sandbox. The
environment mirrors the one of `transformers` (`chat_template_utils.py`), for which templates are
written: trimmed blocks, loop controls, `tojson` that leaves HTML and unicode alone,
`raise_exception`, `strftime_now`, and the `generation` block.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from lokal.errors import LoadError, RefusedError

if TYPE_CHECKING:
    import jinja2

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
    try:
        return _compile(template).render(
            messages=messages,
            tools=tools,
            add_generation_prompt=add_generation_prompt,
            bos_token=bos_token,
            eos_token=eos_token,
            **kwargs,
        )
    except _RaisedError as error:
        raise RefusedError(
            f"the chat template refuses: {error}", hint="change the messages, or use --raw"
        ) from None
    except Exception as error:  # its code is not ours, so whatever it raises is its own fault
        raise LoadError(
            f"the chat template is broken: {str(error) or type(error).__name__}",
            hint="--raw completes without a template",
        ) from error


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


class _RaisedError(Exception):
    """What a template's call of `raise_exception` becomes."""


def _raise_exception(message: str) -> NoReturn:
    raise _RaisedError(message)


def _tojson(value: Any, indent: int | None = None, **_ignored: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _strftime_now(format_: str) -> str:
    from datetime import datetime

    return datetime.now().astimezone().strftime(format_)


@functools.cache
def _environment() -> jinja2.Environment:
    from jinja2.ext import Extension, loopcontrols
    from jinja2.nodes import CallBlock, Node
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks the assistant's tokens for training; here it only groups."""

        tags = {"generation"}  # noqa: RUF012 - the shape that Jinja's base class declares

        def parse(self, parser: Parser) -> Node | list[Node]:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

        def _body(self, caller: Any) -> Any:
            return caller()

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


@functools.lru_cache(maxsize=8)
def _compile(template: str) -> jinja2.Template:
    return _environment().from_string(template)
