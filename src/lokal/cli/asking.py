"""Options of `run`, `chat` and `batch` that say how to address a model, checked and taken apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lokal.cli.output import note
from lokal.cli.prompt_input import check_text, read_stdin, read_text
from lokal.conversation import Conversation, read_messages
from lokal.engine.prompt import PromptOptions, check_variables
from lokal.errors import UsageError
from lokal.loading import REPACK_BELOW, LoadOptions

if TYPE_CHECKING:
    from lokal.engine.lora import Lora


def at_once(completions: int) -> int:
    """How many answers to one prompt run side by side: as many as use the same weights as one."""
    return min(completions, REPACK_BELOW - 1)


def load_options(
    ctx: int | None,
    threads: int | None,
    gpu_layers: str,
    parallel: str | int,
    lora: Sequence[str] | None,
) -> LoadOptions:
    """How to load a model.

    Raises:
        UsageError: an option that no file and no machine could make right.
    """
    adapters: tuple[Lora, ...] = ()
    if lora:
        from lokal.engine.lora import parse_lora

        adapters = tuple(map(parse_lora, lora))
    options = LoadOptions(ctx, threads, gpu_layers, parallel, lora=adapters)
    options.check()
    return options


def talk(name: str | None, stdin: bool) -> tuple[Conversation | None, bool]:
    """The conversation of --messages, and whether standard input is still to be read.

    Raises:
        UsageError: it cannot be read, or is no conversation.
    """
    if name is None:
        return None, stdin
    if name == "-":
        return read_messages(read_stdin(note), "standard input"), False
    return read_messages(read_text(name, "--messages"), name), stdin


def logit_biases(texts: Sequence[str] | None) -> tuple[tuple[str, float], ...]:
    """Tokens and what to add to their logits.

    Raises:
        UsageError: not in the form TOKEN:BIAS.
    """
    if not texts:
        return ()
    from lokal.engine.logit_bias import parse_logit_bias

    return tuple(map(parse_logit_bias, texts))


def system_text(system: str | None, system_file: str | None) -> str | None:
    """The system message, from the command line or a file.

    Raises:
        UsageError: both, or one that cannot be read.
    """
    if system is not None and system_file is not None:
        raise UsageError("both --system and --system-file", hint="give one of them")
    if system_file is not None:
        return read_text(system_file, "--system-file")
    check_text(system or "", "the system message")
    return system


def prompt_options(
    raw: bool, think: bool | None, template_kwargs: str | None, template: str | None
) -> PromptOptions:
    """How a conversation is to become a prompt.

    Raises:
        UsageError: variables that are no JSON object, or for a template that is not to be used.
    """
    if raw:
        given = {
            "--template": template is not None,
            "--template-kwargs": template_kwargs is not None,
            "--think": think is True,
        }
        if names := [name for name, is_given in given.items() if is_given]:
            raise UsageError(f"both --raw and {names[0]}", hint="--raw uses no chat template")
    return PromptOptions(raw, think=think, template_kwargs=_variables(template_kwargs))


def _variables(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        variables = json.loads(text)
    except ValueError as error:
        raise UsageError(
            f"--template-kwargs is no JSON: {error}", hint="""as in '{"enable_thinking": false}'"""
        ) from None
    if not isinstance(variables, dict):
        raise UsageError(
            "--template-kwargs is no JSON object", hint="""as in '{"enable_thinking": false}'"""
        )
    check_variables(variables)
    return variables


def chat_template(name: str | None) -> str | None:
    """A chat template of the user's, from a file.

    Raises:
        UsageError: it cannot be read.
    """
    return None if name is None else read_text(name, "--template")
