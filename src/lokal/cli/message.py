"""What was typed, as a message: triple quotes hold several lines, // begins with a slash."""

from __future__ import annotations

import re

QUOTES = '"""'
_OPENED = re.compile(r'\s*(/\w+\s+)?"""')


def unfinished(text: str) -> bool:
    """Whether triple quotes were opened, at the beginning or after a command, and not closed."""
    opened = _OPENED.match(text)
    return bool(opened) and not text[opened.end() :].rstrip().endswith(QUOTES)  # type: ignore[union-attr]


def unquoted(text: str) -> str:
    """The text without the triple quotes around it, and without blanks at its ends."""
    text = text.strip()
    if text.startswith(QUOTES):
        text = text.removeprefix(QUOTES).removesuffix(QUOTES).strip("\r\n")
    return text
