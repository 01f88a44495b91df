"""Chat templates: messages to the text a model was trained on.

A template comes with the weights, so it is untrusted: it runs in a sandbox that has a meter.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from lokal.engine.chat_forms import Message as Message
from lokal.engine.chat_forms import as_parts, forms, marked, marked_tools
from lokal.errors import LoadError, RefusedError

if TYPE_CHECKING:
    from lokal.engine.template_meter import Meter

WORDS = 500
"""Characters of a template's own error message that are shown."""
INSTEAD = "--raw completes without a template, --template FILE gives another"


class _UnfitError(LoadError):
    """The template's code does not fit these messages; it may fit others."""


class Rendering(NamedTuple):
    """A conversation as text; `shows_tools` is false where it leaves out tools that were given."""

    text: str
    shows_tools: bool


def render(template: str, messages: Sequence[Message], **variables: Any) -> str:
    """Render a conversation as it is; BOS comes from the template, if it wants one.

    `variables` are what the template is given besides: `bos_token`, `eos_token`, `tools`, its own.

    Raises:
        RefusedError: the template does not take these messages, in its own words.
        LoadError: the template is broken, takes too long or makes too much text.
    """
    return _Renderer.of(template, messages, variables).render(messages)


def render_keeping_system(
    template: str, messages: Sequence[Message], **variables: Any
) -> Rendering:
    """Like `render`, in a form of the conversation of which the template loses nothing.

    Some templates raise on a system message (Mistral 7B v0.1, Mixtral), or skip it. It is then
    moved to the front, or else put before the first user message, as their makers advise. Of calls
    of tools that no form shows, nothing is said: not every model knows them.

    Raises:
        RefusedError: the template does not take these messages, in its own words.
        LoadError: the template is broken, takes too long or makes too much text.
    """
    renderer = _Renderer.of(template, messages, variables)
    form = renderer.best(list(forms(template, messages)))
    return Rendering(renderer.render_form(form), renderer.shows_tools(form))


class _Renderer(NamedTuple):
    """A template, and what all renderings of one conversation share: variables, and the time."""

    template: str
    variables: Mapping[str, Any]
    meter: Meter

    @classmethod
    def of(cls, template: str, messages: Sequence[Message], variables: Mapping[str, Any]) -> Self:
        from lokal.engine import template_meter  # jinja2 takes a while

        try:
            meter = template_meter.Meter({**variables, "messages": messages})
        except template_meter.TooMuchError as error:
            raise LoadError(_words(error), hint=INSTEAD) from None
        return cls(template, variables, meter)

    def render(self, messages: Sequence[Message], **more: Any) -> str:
        """Messages as they are."""
        from lokal.engine import template_functions, template_meter, template_sandbox

        variables = {
            "tools": None,
            "documents": None,
            "add_generation_prompt": True,
            **self.variables,
            **more,
            "messages": [_with_reasoning(message) for message in messages],
        }
        try:
            return template_sandbox.render(self.template, variables, self.meter)
        except template_functions.RaisedError as error:
            raise RefusedError(
                f"the chat template refuses: {error!s:.{WORDS}}",
                hint="change the messages, or use --raw",
            ) from None
        except template_meter.TooMuchError as error:
            raise LoadError(_words(error), hint=INSTEAD) from None
        except template_sandbox.SourceError as error:
            raise LoadError(_words(error.__cause__ or error), hint=INSTEAD) from None
        except Exception as error:  # its code is not ours, so whatever it raises is its own fault
            raise _UnfitError(_words(error), hint=INSTEAD) from error

    def best(self, choices: Sequence[Sequence[Message]]) -> Sequence[Message]:
        """The first form of which nothing is lost, or else no system text; or else the last."""
        if len(choices) == 1:
            return choices[0]
        has_calls = any(message.get("tool_calls") for message in choices[0])
        for calls in (True, False) if has_calls else (False,):
            for choice in choices:
                if self._shows(choice, calls):
                    return choice
        return choices[-1]

    def _shows(self, messages: Sequence[Message], calls: bool) -> bool:
        """Whether all system texts, and all calls, come out; asked with marks on them."""
        probe, marks = marked(messages, os.urandom(8).hex(), calls)
        if not marks and not any(message.get("tool_calls") for message in messages):
            return True
        try:
            text = self.render_form(probe)
        except (RefusedError, _UnfitError):
            return False
        return all(mark in text for mark in marks)

    def shows_tools(self, messages: Sequence[Message]) -> bool:
        """Whether any of the tools comes out; of tools without names nobody can say."""
        tools, marks = marked_tools(self.variables.get("tools") or (), os.urandom(8).hex())
        if not marks:
            return True
        try:
            text = self.render_form(messages, tools=tools)
        except (RefusedError, _UnfitError):  # over a name, so it does read them
            return True
        return any(mark in text for mark in marks)

    def render_form(self, messages: Sequence[Message], **more: Any) -> str:
        """Messages with contents of text; a few templates read lists of parts only."""
        found = _found_out(self.template)
        if "reads text" not in found:
            found["reads text"] = self._reads_text()
        return self.render(messages if found["reads text"] else as_parts(messages), **more)

    def _reads_text(self) -> bool:
        word = "17d4b1"
        ask = [{"role": "user", "content": word}]
        plain = self._replace(variables={"bos_token": "", "eos_token": ""})
        try:
            if word in plain.render(ask):
                return True
            return word not in plain.render(as_parts(ask))
        except (RefusedError, _UnfitError):
            return True


@functools.lru_cache(maxsize=8)
def _found_out(template: str) -> dict[str, bool]:  # noqa: ARG001 - what it is remembered by
    """What was found out about a template by asking it."""
    return {}


def _words(error: BaseException) -> str:
    """What is wrong with a template's code."""
    from lokal.engine import template_meter

    words = str(error)[:WORDS] or type(error).__name__
    if isinstance(error, template_meter.TooMuchError):
        return f"the chat template {words}"
    if isinstance(error, template_meter.NotAllowedError):
        return f"the chat template uses {words}, which lokal does not allow"
    return f"the chat template is broken: {words}"


def _with_reasoning(message: Message) -> Message:
    """A message whose reasoning has all the names that templates look for, as in transformers."""
    for name in ("reasoning_content", "thinking", "reasoning"):
        reasoning = message.get(name)
        if reasoning is not None:
            return {"thinking": reasoning, **message, "reasoning_content": reasoning}
    return message
