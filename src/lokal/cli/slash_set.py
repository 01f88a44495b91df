"""`/set`: the options of the next answers, by the names that the command line has for them."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import asdict
from difflib import get_close_matches
from typing import Any

from lokal.cli.output import note, plain
from lokal.cli.session import Session
from lokal.engine.request import check_seed
from lokal.errors import UsageError

DEFAULT = "default"  # the value that takes a change back


def _switch(text: str) -> bool:
    known = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}
    return known[text.lower()]


def _texts(text: str) -> tuple[str, ...]:
    return tuple(shlex.split(text))


# How a value is read, and what to say where it is none.
KINDS: dict[str, tuple[Callable[[str], Any], str]] = {
    "temperature": (float, "a number"),
    "top_k": (int, "a whole number"),
    "top_p": (float, "a number"),
    "min_p": (float, "a number"),
    "repeat_penalty": (float, "a number"),
    "max_tokens": (int, "a whole number"),
    "stop": (_texts, "texts, in quotes where they have blanks"),
    "ignore_eos": (_switch, "on or off"),
    "reasoning_budget": (int, "a whole number"),
    "think": (_switch, "on or off"),
    "seed": (int, "a whole number"),
}
# What the command line would hint at is done by other words here.
NO_SWITCH = "/set reasoning_budget 0 closes it at once"
NO_USE = "leave it, or go on with another model: /model"
SHORT = {"temp": "temperature"}  # as on the command line


def set_option(session: Session, argument: str) -> None:
    """Show what is in force, or change it.

    Raises:
        UsageError: there is no such option, or this is no value for it.
    """
    if not argument:
        _show(session)
        return
    typed, _, value = argument.replace("=", " ", 1).partition(" ")
    name = typed.lstrip("-").replace("-", "_").lower()
    name, value = SHORT.get(name, name), value.strip()
    if name not in KINDS:
        close = get_close_matches(name, KINDS, n=2)
        raise UsageError(
            f"there is no option {typed}",
            hint=f"did you mean {' or '.join(close)}?" if close else "/set shows them all",
        )
    if value:
        _put(session, name, None if value.lower() == DEFAULT else _read(name, value))
    note(f"{name} {plain(_in_force(session)[name])}")


def _read(name: str, text: str) -> Any:
    read, kind = KINDS[name]
    try:
        return read(text)
    except (ValueError, KeyError):
        raise UsageError(f"{name} is {text!r}", hint=f"give {kind}, or {DEFAULT}") from None


def _put(session: Session, name: str, value: Any) -> None:
    """Change it for the next answers, if it can be; None takes back an earlier change."""
    if name == "seed":
        if value is None:
            raise UsageError("the seed has no default", hint="give a number")
        check_seed(value)
        session.seed = value
        return
    form = session.form._replace(think=value) if name == "think" else session.form
    sampling = {key: old for key, old in session.sampling.items() if key != name}
    if name != "think" and value is not None:
        sampling[name] = value
    session.model.sampling(**sampling)
    try:
        session.check(form, sampling)
    except UsageError as error:
        raise UsageError(error.message, hint=NO_SWITCH if value is False else NO_USE) from None
    session.form, session.sampling = form, sampling


def _in_force(session: Session) -> dict[str, Any]:
    params = asdict(session.model.sampling(**session.sampling))
    return {
        name: {"think": session.form.think, "seed": session.seed}.get(name, params.get(name))
        for name in KINDS
    }


def _show(session: Session) -> None:
    changed = {*session.sampling, *(["think"] if session.form.think is not None else [])}
    for name, value in _in_force(session).items():
        note(f"{name:<17} {plain(value)}{'  (set)' if name in changed else ''}")
