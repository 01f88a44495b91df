"""What llguidance says about a grammar, in one line for people."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

_PLACE = re.compile(r"(?:at )?(\d+)\((\d+)\): ")
_SNIPPET = re.compile(r"\n +\d+ \| ")  # lines of the grammar that it quotes below the message
_REGEX = re.compile(
    r"regex parse error:\n    (?P<text>.*)\n    (?P<indent> *)\^+\nerror: (?P<why>.*)"
)
_LOOK = re.compile(r"invalid regex .*?\(in regex\): (?P<why>[^;]*)", re.DOTALL)
_UNIMPLEMENTED = re.compile(r"Unimplemented keys: (\[.*\])")


class Fault(NamedTuple):
    """What is wrong, and where if that was said: line and column from 1."""

    why: str
    line: int = 0
    column: int = 0


def fault(message: str) -> Fault:
    """Read a message of llguidance's."""
    line = column = 0
    message = message.split("\n<")[0]  # state dumps
    if place := _PLACE.match(message):
        line, column = int(place[1]), int(place[2])
        message = message[place.end() :]
    message = _SNIPPET.split(message)[0]
    if found := _REGEX.search(message):
        why = f"{found['why']} (character {len(found['indent']) + 1} of {_short(found['text'])})"
    elif "regex parse error" in message:  # of several lines
        why = message.rpartition("error: ")[2]
    elif found := _LOOK.search(message):
        why = found["why"]
    elif found := _UNIMPLEMENTED.search(message):
        keys = json.loads(found[1])
        why = f"{', '.join(keys)}: not supported"
    elif message.startswith("oneOf constraints"):
        why = "oneOf of schemas that overlap: not supported"
    elif "panic" in message or "too large" in message:
        why = "it is too large"
    elif "(Regex" in message:  # an expression in its own notation
        why = "its parts contradict each other"
    elif "NoExtension" in message:
        why = "nothing of finite length matches it"
    elif message.startswith("Resource "):
        why = (
            message.split(" and retrieving")[0].replace("json-schema:///", "") + ": no such schema"
        )
    else:
        why = re.sub(r' \(at ".*|; .*', "", message, flags=re.DOTALL)
    why = why.replace("recursion limit exceeded", "nested too deeply")
    why = why.replace(" supported yet", " supported")
    return Fault(_short(" ".join(why.split()), 200), line, column)


def _short(text: str, size: int = 60) -> str:
    return text if len(text) <= size else text[:size] + "…"
