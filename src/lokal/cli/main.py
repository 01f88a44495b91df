"""The `llm` command: verbs, and the one place where failures become messages and exit codes."""

from __future__ import annotations

import gc

# Importing makes a hundred thousand objects and next to no garbage; looking for some takes a
# twentieth of a start. `llm run` switches the collector on again once everything is loaded.
gc.disable()

import sys
from typing import Annotated, Any, NoReturn

import typer

from lokal import __version__
from lokal.cli import ls, models, run, show
from lokal.cli.output import ReaderGone, note, show_error, silence_stdout
from lokal.errors import LokalError, UsageError

EXIT_BUG, EXIT_INTERRUPTED, EXIT_READER_GONE = 1, 130, 141

INTRODUCTION = """\
llm runs open-weight language models on this machine.

  llm run tiny "Tell me a story about a fox"     the built-in model, no download
  git diff | llm run mistral "Review: {}"        a pipe; weights are fetched once
  llm models                                     what there is to choose from

llm --help lists every verb, llm run --help every option.
"""

# No rich in help and errors: it takes longer to import than everything else together.
app = typer.Typer(
    name="llm", rich_markup_mode=None, pretty_exceptions_enable=False, invoke_without_command=True
)
app.command()(run.run)
app.command()(ls.ls)
app.command("list", hidden=True)(ls.ls)
app.command()(show.show)
app.command()(models.models)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lokal {__version__}")
        raise typer.Exit


@app.callback()
def introduce(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Run open-weight language models on this machine."""
    if context.invoked_subcommand is None:
        typer.echo(INTRODUCTION, nl=False)


def main() -> NoReturn:
    """Entry point of `llm` and `lokal`."""
    sys.exit(_exit_code(sys.argv[1:]))


def _exit_code(arguments: list[str]) -> int:
    # Looked up in the raw arguments, because the command line itself may be what is wrong.
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    as_json, debug = "--json" in options, "--debug" in options
    try:
        try:
            return _invoke(arguments)
        except LokalError as error:
            if debug:
                raise
            show_error(error, as_json=as_json)
            return error.exit_code
    except ReaderGone:
        silence_stdout()
        return EXIT_READER_GONE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:
        if debug:
            raise
        note(f"error: a bug in lokal: {type(error).__name__}: {error}")
        note("hint: please report it, with the traceback that --debug shows")
        return EXIT_BUG


def _invoke(arguments: list[str]) -> int:
    command = typer.main.get_command(app)
    try:
        result = command.main(
            arguments, "llm", standalone_mode=False, default_map=_defaults(command)
        )
    except typer.TyperException as error:
        raise UsageError(
            error.format_message().replace("\n", " "), hint=_help_hint(error)
        ) from None
    except typer.Abort:
        return EXIT_INTERRUPTED
    return result if isinstance(result, int) else 0


def _help_hint(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "llm"
    if "unexpected extra argument" in error.message and path.endswith(" run"):
        return "put the whole prompt in quotes"
    return f"{path} --help lists what there is"


def _defaults(command: Any) -> dict[str, dict[str, Any]]:
    """config.toml as defaults per verb; a table of a verb's name wins over the top level.

    Raises:
        UsageError: an option that no verb has.
    """
    from lokal import settings

    options = dict(settings.load().options)
    verbs = {
        name: {p.name for p in verb.params if p.param_type_name == "option"}
        for name, verb in command.commands.items()
    }
    tables = {name: options.pop(name) for name in verbs if isinstance(options.get(name), dict)}
    known = set[str]().union(*verbs.values())
    wrong = [key for key in options if key not in known]
    wrong += [f"{n}.{key}" for n, table in tables.items() for key in table if key not in verbs[n]]
    if wrong:
        raise UsageError(
            f"config.toml sets {wrong[0]!r}, which is no option", hint="options: --help, without --"
        )
    return {
        name: {key: value for key, value in options.items() if key in params} | tables.get(name, {})
        for name, params in verbs.items()
    }
