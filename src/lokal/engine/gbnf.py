"""llama.cpp's own grammar notation, as far as its conversion needs help."""

from __future__ import annotations

import re

_RULE = re.compile(r"^[ \t]*[\w-]+[ \t]*::=", re.MULTILINE)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|.)")


def is_gbnf(grammar: str) -> bool:
    """Whether a grammar is GBNF rather than Lark."""
    return _RULE.search(grammar) is not None


def unescaped(grammar: str) -> str:
    r"""The grammar with \u and \U replaced by their characters; the conversion gets them wrong."""
    return _ESCAPE.sub(_character, grammar)


def _character(match: re.Match[str]) -> str:
    code = int(match[1] or match[2] or "0", 16)
    if not code or code > 0x10FFFF or 0xD800 <= code < 0xE000:
        return match[0]
    return f"\\x{code:02X}" if code < 0x80 else chr(code)
