"""A bound on what cannot be called back: a disk or a network that does not answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class LateError(Exception):
    """It was not done in time; its thread is left behind."""


def within(seconds: float, call: Callable[[], T]) -> T:
    """What a call returns.

    Raises:
        LateError: it has not returned after so many seconds.
        Exception: what it raises.
    """
    values: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            values.append(call())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not values:
        raise LateError
    return values[0]
