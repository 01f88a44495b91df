"""`--template`: a prompt with places that each row fills.

    {text}      the row's field of that name
    {a.b}       the field b of the object a, unless there is a field with the name "a.b"
    {}          short for {prompt}; of a text file that is the whole line
    {{ and }}   braces

A text comes in as it is, everything else as JSON (a null as null). What came in is never looked
at for more places.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from lokal.batch.record import listing
from lokal.errors import UsageError

_PARTS = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class Template:
    """A parsed template.

    Raises:
        UsageError: a single brace, a field without a name, or no field at all.
    """

    def __init__(self, text: str) -> None:
        # Literal text and names take turns: text, name, text, …, text.
        self._parts = [""]
        place = 0
        for match in _PARTS.finditer(text):
            self._parts[-1] += text[place : match.start()]
            place = match.end()
            if match[0] in ("{{", "}}"):
                self._parts[-1] += match[0][0]
            elif match[1] is None:
                raise UsageError(
                    f"--template has a single {match[0]} (character {match.start() + 1})",
                    hint="write {{ and }} for braces that are no field",
                )
            else:
                name = match[1] or "prompt"
                if not all(name.split(".")):
                    raise UsageError(
                        f"--template has the field {match[0]}, whose name is incomplete",
                        hint="name a field: {text}, or {object.field}",
                    )
                self._parts += [name, ""]
        self._parts[-1] += text[place:]
        if not self.names:
            raise UsageError(
                "--template names no field of the row", hint="put one in: 'Classify: {text}'"
            )

    @property
    def names(self) -> list[str]:
        """The fields it asks for, in order."""
        return self._parts[1::2]

    def fill(self, fields: Mapping[str, Any]) -> str:
        """The prompt for a row.

        Raises:
            UsageError: the row lacks a field.
        """
        values = (
            _written(_find(part, fields)) if place % 2 else part
            for place, part in enumerate(self._parts)
        )
        return "".join(values)


def _find(name: str, fields: Mapping[str, Any]) -> Any:
    if name in fields:
        return fields[name]
    value: Any = fields
    for key in name.split("."):
        if not isinstance(value, Mapping) or key not in value:
            raise UsageError(
                f"no field {name!r} for the template", hint=f"the fields are: {listing(fields)}"
            )
        value = value[key]
    return value


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
