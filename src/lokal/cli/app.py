"""The verbs of `llm`, and how its arguments, the environment and config.toml reach them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from lokal import __version__, settings
from lokal.cli.output import ReaderGone, write_lines
from lokal.cli.terminal import Converse
from lokal.errors import UsageError

INTRODUCTION = """\
llm runs open-weight language models on this machine.

  llm run tiny "Tell me a story about a fox"     the built-in model, no download
  git diff | llm run mistral "Review: {}"        a pipe; weights are fetched once
  llm models                                     what there is to choose from

llm chat MODEL is a conversation; llm --help lists every verb, llm run --help every option.
"""

# What belongs to a single call, so that neither the environment nor config.toml sets it.
FLAGS_ONLY = {"json", "debug", "dry_run", "yes", "repair", "force", "help", "template", "text"} | {
    "input_format",
    "limit",
    "sample",
    "restart",
    "retry_errors",
}
FLAGS_ONLY |= {"schema", "form", "regex", "grammar", "resume"}
FLAGS_ONLY |= {"messages", "completions", "logprobs"}
FLAGS_ONLY |= {"prompt_tokens", "gen_tokens", "counts", "repetitions"}

# A module of this package each, but for the second name of one.
VERBS = (
    *("run", "chat", "batch", "pull", "ls", "list", "show", "rm", "verify", "prune"),
    *("doctor", "bench", "models"),
)


def _app(verbs: Sequence[str]) -> typer.Typer:
    """The command with some of its verbs; only their modules are imported."""
    # No rich in help and errors: it takes longer to import than everything else together.
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback(invoke_without_command=True)(_introduce)
    for verb in verbs:
        name = "ls" if verb == "list" else verb
        module = importlib.import_module(f"lokal.cli.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=verb)
        else:
            app.command(verb, hidden=verb != name)(getattr(module, name))
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        write_lines([f"lokal {__version__}"])
        raise typer.Exit


def _introduce(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Run open-weight language models on this machine."""
    if context.invoked_subcommand is None:
        write_lines([INTRODUCTION])


def invoke(arguments: list[str], options: list[str]) -> int:
    """Run the verb that the arguments name; returns the exit code.

    `options` are the arguments before a `--`.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        ReaderGone: nobody reads standard output.
        LokalError: what the verb raises, and UsageError for a wrong command line.
    """
    # Help must not depend on a file that may be what one needs help with.
    needs_config = arguments and not {"--help", "--version"}.intersection(options)
    try:
        config = settings.load().options if needs_config else {}
        command, defaults = _configured(arguments, config)
        if arguments[:1] == ["doctor"]:
            _check_values(command, defaults)
    except UsageError:
        if arguments[:1] != ["doctor"]:
            raise
        command, defaults = _configured(arguments, {})  # it tells itself what is wrong
    # Completion looks for a variable that is named after the command.
    program = "lokal" if Path(sys.argv[0]).stem == "lokal" else "llm"
    try:
        result = command.main(
            arguments,
            program,
            standalone_mode=False,
            default_map=defaults,
        )
    except typer.TyperException as error:
        raise UsageError(
            error.format_message().replace("\n", " "), hint=_hint(error, command, arguments)
        ) from None
    except Converse:
        verb = arguments.index("run")
        return invoke([*arguments[:verb], "chat", *arguments[verb + 1 :]], options)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except SystemExit as end:
        # Typer's own output (help, completion) ends like this when its reader went away.
        if isinstance(end.__context__, BrokenPipeError):
            raise ReaderGone from None
        raise
    return result if isinstance(result, int) else 0


def check_config() -> None:
    """Raises: UsageError: config.toml is not what `llm` can read, or sets what no verb takes."""
    _check_values(*_configured([], settings.load().options))


def _configured(arguments: list[str], config: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The command, and what config.toml sets for its verbs.

    Raises:
        UsageError: an option that no verb has, or a table where a value belongs.
    """
    # A start is shorter by a tenth with one verb; config.toml is checked against them all.
    alone = not config and arguments and arguments[0] in VERBS
    command: Any = typer.main.get_command(_app(arguments[:1] if alone else VERBS))
    return command, _defaults(command, config)


def _check_values(command: Any, defaults: Mapping[str, Any]) -> None:
    """Whether every verb can take what is set for it, as if it were called.

    Raises:
        UsageError: a value that an option refuses.
    """
    context = typer.Context(command)
    for name, verb in command.commands.items():
        set_for = defaults.get(name, {})
        if hasattr(verb, "commands"):  # as in `models add`
            _check_values(verb, set_for)
        for param in verb.params:
            if param.name not in set_for:
                continue
            try:
                param.process_value(context, set_for[param.name])
            except typer.BadParameter as error:
                raise UsageError(
                    f"config.toml: {param.name}: {error.message}",
                    hint=f"llm {name} --help lists what there is",
                ) from None


def _hint(error: typer.TyperException, command: Any, arguments: list[str]) -> str:
    """Where the wrong value came from, or which help page to read."""
    context: Any = getattr(error, "ctx", None)
    option: Any = getattr(error, "param", None)
    source = context.get_parameter_source(option.name) if context and option else None
    if source and source.name == "ENVIRONMENT":
        return f"it comes from the environment variable {option.envvar}"
    if source and source.name == "DEFAULT_MAP":
        return f"it comes from {option.name} in config.toml"
    verb = next((f"llm {word}" for word in arguments if word in command.commands), "llm")
    if "unexpected extra argument" in error.message and verb == "llm run":
        return "put the whole prompt in quotes"
    return f"{verb} --help lists what there is"


def _defaults(command: Any, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """config.toml as defaults per verb; a table of a verb's name wins over the top level.

    Raises:
        UsageError: an option that no verb has, or a table where a value belongs.
    """
    options = dict(config)
    verbs = {name: _settable(verb) for name, verb in command.commands.items()}
    tables = {name: options.pop(name) for name in verbs if isinstance(options.get(name), dict)}
    known = {name for params in verbs.values() for name in params}
    wrong = [key for key in options if key not in known]
    wrong += [f"{n}.{key}" for n, table in tables.items() for key in table if key not in verbs[n]]
    if wrong:
        raise UsageError(
            f"config.toml sets {wrong[0]!r}, which it cannot",
            hint=_settable_hint(wrong[0].rpartition(".")[2], command),
        )
    defaults: dict[str, dict[str, Any]] = {}
    for name, verb in command.commands.items():
        values = {**options, **tables.get(name, {})}
        defaults[name] = _given(verbs[name], values)
        for part, below in getattr(verb, "commands", {}).items():
            defaults[name][part] = _given(_settable(below), values)
    return defaults


def _settable(verb: Any) -> dict[str, Any]:
    """The options that config.toml may set, by name: of a verb, and of the verbs below it."""
    found = {
        param.name: param
        for param in verb.params
        if param.param_type_name == "option" and param.name not in FLAGS_ONLY
    }
    for below in getattr(verb, "commands", {}).values():  # as in `models add`
        found |= _settable(below)
    return found


def _settable_hint(key: str, command: Any) -> str:
    """What to write instead of a key that is no option's name; it may be a flag's."""
    names = {
        str(param.name)
        for verb in command.commands.values()
        for param in verb.params
        if key in {flag.lstrip("-").replace("-", "_") for flag in (*param.opts, param.name)}
    }
    if settable := sorted(names - FLAGS_ONLY - {key}):
        return f"this option is called {' or '.join(settable)} there"
    if names:
        return "it belongs to a single call: give it on the command line"
    return "it sets the options of --help, with _ for -, as in max_tokens"


def _given(params: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    return {key: _typed(params[key], value) for key, value in values.items() if key in params}


def _typed(option: Any, value: Any) -> str | list[str]:
    """A value of config.toml as one would type it, so that it is checked just like that."""
    values = value if isinstance(value, list) and option.multiple else [value]
    if any(isinstance(item, list | dict) for item in values):
        raise UsageError(
            f"config.toml gives {option.name} a list or a table", hint="give it a single value"
        )
    texts = [str(item) for item in values]
    return texts if option.multiple else texts[0]
