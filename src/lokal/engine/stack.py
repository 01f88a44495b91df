"""Work that recurses deeper in native code than a thread's usual stack allows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from lokal.errors import SpaceError

T = TypeVar("T")

# Bytes of address space; memory is taken as it is used. llguidance takes up to 9 kB a rule, so
# that the usual 8 MB end, and with them the process, after a thousand rules.
SIZE = 512 * 2**20


def with_deep_stack(work: Callable[[], T]) -> T:
    """Do it in a thread of its own.

    Raises:
        SpaceError: the system gives no such stack.
    """
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    before = threading.stack_size(SIZE)
    try:
        thread.start()
    except RuntimeError:
        raise SpaceError(
            "no memory to compile the schema or grammar",
            hint="raise the limit of address space (ulimit -v)",
        ) from None
    finally:
        threading.stack_size(before)
    thread.join()
    if failures:
        raise failures[0]
    return results[0]
