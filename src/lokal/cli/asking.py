"""Options of `run`, `chat` and `batch` that say how to address a model, checked and taken apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from lokal.cli.options import ON_COMMAND_LINE, rank
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


def load_options(lora: Sequence[str] | None, **asked: Any) -> LoadOptions:
    """How to load a model: the fields of `LoadOptions`, and adapters as FILE[:SCALE].

    Raises:
        UsageError: an option that no file and no machine could make right.
        GpuError: a GPU is required, and there is none.
    """
    adapters: tuple[Lora, ...] = ()
    if lora:
        from lokal.engine.lora import parse_lora

        adapters = tuple(map(parse_lora, lora))
    options = LoadOptions(lora=adapters, **asked)
    options.check()
    if options.require_gpu:
        from lokal.planning import machine

        machine(options)  # before anything is fetched
    return options


def talk(name: str | None) -> Conversation:
    """The conversation of --messages; empty if there is none.

    Raises:
        UsageError: it cannot be read, or is no conversation.
    """
    if name is None:
        return Conversation([], [])
    if name == "-":
        return read_messages(read_stdin(note), "standard input")
    return read_messages(read_text(name, "--messages"), name)


def logit_biases(texts: Sequence[str] | None) -> tuple[tuple[str, float], ...]:
    """Tokens and what to add to their logits.

    Raises:
        UsageError: not in the form TOKEN:BIAS.
    """
    if not texts:
        return ()
    from lokal.engine.logit_bias import parse_logit_bias

    return tuple(map(parse_logit_bias, texts))


def system_text(context: typer.Context, system: str | None, system_file: str | None) -> str | None:
    """The system message, given as it is or in a file; a flag wins over what is set elsewhere.

    Raises:
        UsageError: both, of the same strength, or one that cannot be read.
    """
    if system is not None and system_file is not None:
        lead = rank(context, "system") - rank(context, "system_file")
        if not lead:
            raise UsageError("both --system and --system-file", hint="give one of them")
        system, system_file = (system, None) if lead > 0 else (None, system_file)
    if system_file is not None:
        return read_text(system_file, "--system-file")
    check_text(system or "", "the system message")
    return system


def prompt_options(
    context: typer.Context, think: bool | None, template_kwargs: str | None, *, raw: bool = False
) -> PromptOptions:
    """How a conversation is to become a prompt.

    Raises:
        UsageError: variables that are no JSON object, or on a command line with --raw.
    """
    if raw:
        _refuse_beside_raw(context, "--template-kwargs", "template_kwargs")
        if think:
            _refuse_beside_raw(context, "--think", "think")
        return PromptOptions(raw)
    return PromptOptions(think=think, template_kwargs=_variables(template_kwargs))


def _refuse_beside_raw(context: typer.Context, flag: str, name: str) -> None:
    """What is set elsewhere than on the command line just has no effect on a raw completion."""
    if rank(context, name) == ON_COMMAND_LINE:
        raise UsageError(f"both --raw and {flag}", hint="--raw uses no chat template")


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


def chat_template(context: typer.Context, name: str | None, *, raw: bool = False) -> str | None:
    """A chat template of the user's, from a file.

    Raises:
        UsageError: it cannot be read, or stands on a command line with --raw.
    """
    if raw:
        _refuse_beside_raw(context, "--chat-template", "chat_template")
        return None
    return None if name is None else read_text(name, "--chat-template")
