"""The four options that ask for an answer of a certain form, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lokal.cli.prompt_input import check_text, utf8
from lokal.errors import UsageError
from lokal.settings import expand

if TYPE_CHECKING:
    from lokal.engine.constraint import Grammar

MAX_BYTES = 2**22  # more than compiles; an endless pipe must end somewhere


def asked_grammar(
    schema: str | None, form: str | None, regex: str | None, grammar: str | None
) -> Grammar | None:
    """What --schema, --format, --regex and --grammar ask for, checked; None if nothing.

    A schema that begins with { is one, else it names a file. A grammar that names a file is that
    file's, else it is one.

    Raises:
        UsageError: more than one of them, or a file that cannot be read.
        ConstraintError: it does not compile, with the place.
    """
    options = {"--schema": schema, "--format": form, "--regex": regex, "--grammar": grammar}
    given = {name: value for name, value in options.items() if value is not None}
    if not given:
        return None
    (name, value), *more = given.items()
    if more:
        raise UsageError(f"both {name} and {more[0][0]}", hint="give one of them")
    check_text(value, name)
    from lokal.engine.constraint import Grammar, check, schema_grammar

    if name == "--schema":
        is_text = value.lstrip().startswith("{")
        asked = (
            schema_grammar(value)
            if is_text
            else schema_grammar(_read(value, name), f"the schema in {value}")
        )
    elif name == "--format":
        if value != "json":
            raise UsageError(f"--format {value}", hint="json is the only one")
        asked = Grammar("json")
    elif name == "--grammar" and _names_a_file(value):
        asked = Grammar("grammar", _read(value, name))
    else:
        asked = Grammar(name.removeprefix("--"), value)
    check(asked)
    return asked


def check_end(grammar: Grammar | None, sampling: Mapping[str, Any]) -> None:
    """Raises: UsageError: an answer that must match has an end, and is to go on beyond it."""
    if grammar and sampling.get("ignore_eos"):
        raise UsageError(
            "--ignore-eos goes on where an answer that matches must end", hint="leave it out"
        )


def _names_a_file(value: str) -> bool:
    if ":" not in value:  # every rule has one
        return True
    try:
        return expand(value).is_file()
    except OSError:  # longer than any name
        return False


def _read(name: str, option: str) -> str:
    try:
        with expand(name).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"cannot read {name}: {error.strerror}",
            hint=f"{option} takes a file, or the text itself"
            + (", which begins with {" if option == "--schema" else ""),
        ) from None
    if len(data) > MAX_BYTES:
        raise UsageError(f"{name} has more than {MAX_BYTES} bytes", hint="give a smaller one")
    return utf8(data, name)
