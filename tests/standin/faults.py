"""Faults on request: for each request the first rule that matches and is not used up applies.

{"match": {"kind": K, "method": "GET", "repo": GLOB, "file": GLOB, "ranged": true, "range_ge": N},
 "skip": 0, "times": 1 or None, and one or more actions:}

 "delay": T               wait T seconds before any answer
 "drop": true             close without an answer
 "reset": true            ... with a TCP RST; with cut_after: RST instead of FIN there
 "status": 503            answer so; with "retry_after": S, "headers": {...}, "body": "..."
 "cut_after": N           close after N bytes of the body
 "stall_after": N         send N bytes, then sleep "stall" seconds
 "throttle": B            at most B bytes a second on this connection
 "corrupt_at": N          flip the byte at this offset of the file
 "truncate_to": N         pretend, consistently, that the file has N bytes
 "content_length": N      add N to Content-Length, or leave the header out: "none"
 "ignore_range": true     answer 200 and the whole file to a range request
 "wrong_range": true      206 with the bytes of another place and an honest-looking header
 "no_headers": [...]      leave these headers out
 "set_headers": {...}     or overwrite them
 "captive": true          200 text/html, as a hotel network does
 "loop": true             redirect to itself
 "json": {...}            answer 200 with this JSON
"""

from __future__ import annotations

import re
import threading
from fnmatch import fnmatchcase
from typing import Any

Rule = dict[str, Any]


class Faults:
    """The rules, and how often each was used."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._used: dict[int, int] = {}

    def set(self, rules: list[Rule]) -> None:
        with self._lock:
            self._rules, self._used = rules, {}

    def pick(self, request: dict[str, Any]) -> tuple[int | None, Rule]:
        """The rule for a request, with its number; (None, {}) if there is none."""
        with self._lock:
            for index, rule in enumerate(self._rules):
                if not _matches(rule.get("match", {}), request):
                    continue
                used, skip = self._used.get(index, 0), rule.get("skip", 0)
                times = rule.get("times", 1)
                if times is not None and used >= skip + times:
                    continue
                self._used[index] = used + 1
                if used < skip:
                    continue
                return index, rule
        return None, {}


def _matches(match: dict[str, Any], request: dict[str, Any]) -> bool:
    for key, wanted in match.items():
        if key == "ranged":
            good = bool(request["range"]) == wanted
        elif key == "range_ge":
            found = re.match(r"bytes=(\d+)-", request["range"] or "")
            good = bool(found) and int(found[1]) >= wanted
        else:
            good = fnmatchcase(str(request.get(key) or ""), str(wanted))
        if not good:
            return False
    return True
