"""What was asked of the stand-in."""

from __future__ import annotations

import threading
from typing import Any


class Log:
    """One dict a request, in the order they came in; `done` once it is answered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[dict[str, Any]] = []

    def begin(self, request: dict[str, Any]) -> None:
        with self._lock:
            self._requests.append(request)
            request["n"] = len(self._requests)

    def all(self) -> list[dict[str, Any]]:
        with self._lock:
            return list(self._requests)

    def settled(self) -> bool:
        return all(request["done"] for request in self.all())

    def clear(self) -> None:
        with self._lock:
            self._requests.clear()
