"""Carries out one order of `machine.Machine` in a process of its own; the result is one JSON line.

The order: {"call": "pull" or "locate", "source", "selector", "revision", "pace": {...}, and
"no_network": true to make every connection an error}.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from lokal import settings
from lokal.catalog.entry import Entry, License, Origin
from lokal.errors import LokalError
from lokal.hub.client import Order, Progress, locate, pull


class Recorder(Progress):
    def __init__(self) -> None:
        self.events: list[list[Any]] = []

    def start(self, files: int, size: int) -> None:
        self.events.append(["start", files, size])

    def begin(self, file: str, size: int) -> None:
        self.events.append(["begin", file, size])

    def at(self, done: int) -> None:
        self.events.append(["at", done])

    def end(self) -> None:
        self.events.append(["end"])

    def finish(self) -> None:
        self.events.append(["finish"])

    def wait(self, seconds: float, reason: str) -> None:
        self.events.append(["wait", seconds, reason])

    def say(self, text: str) -> None:
        self.events.append(["say", text])
        sys.stderr.write(f"{text}\n")


def source(given: str | dict[str, str]) -> Entry | str:
    if isinstance(given, str):
        return given
    license_ = License(id="MIT", name="MIT", url="", open_source=True)
    common: dict[str, Any] = {"ref": "m", "title": "M", "license": license_}
    return Entry(**common, origin=Origin(name="me"), confidence="seen", **given)


def main(given: dict[str, Any]) -> dict[str, Any]:
    def forbid(event: str, _: object) -> None:
        if given.get("no_network") and event in ("socket.connect", "socket.getaddrinfo"):
            raise RuntimeError("network")

    sys.addaudithook(forbid)
    order = Order(source(given["source"]), given.get("selector"), given.get("revision", "main"))
    recorder = Recorder()
    result: dict[str, Any] = {"events": recorder.events}
    try:
        if given["call"] == "locate":
            pulled = locate(order, settings.load())
        else:
            from lokal.hub.faults import Pace

            pace = Pace(**{"timeout": 2, "tries": 4, **given.get("pace", {})})
            pulled = pull(order, settings.load(), recorder, pace=pace)
            result["fetched"] = pulled.fetched
            result["unlinked"] = {str(path): sha for path, sha in pulled.unlinked.items()}
        result["paths"] = [str(path) for path in pulled.paths] if pulled else None
    except LokalError as error:
        result["error"] = error.as_dict() | {"exit_code": error.exit_code}
    result["heavy"] = "huggingface_hub" in sys.modules
    return result


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))))
