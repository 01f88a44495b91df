"""Ctrl-C: noted while somebody listens, raised where it can be."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from lokal.engine.interrupt import Interrupt


@pytest.fixture(autouse=True)
def _default_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def test_a_request_is_raised_once() -> None:
    """`check` takes the request back."""
    interrupt = Interrupt()
    interrupt.check()
    interrupt.request()
    with pytest.raises(KeyboardInterrupt):
        interrupt.check()
    interrupt.check()


def test_ctrl_c_is_noted_and_not_raised() -> None:
    """Native code can then be asked to stop."""
    interrupt = Interrupt()
    with interrupt.listening():
        ctrl_c()
        assert interrupt.requested
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_raises() -> None:
    """Whoever cannot wait gets out."""
    interrupt = Interrupt()
    with interrupt.listening():
        ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            ctrl_c()


def test_listening_nests() -> None:
    """The inner one changes nothing; the outer one puts the handler back, even on an error."""
    interrupt = Interrupt()

    def fail() -> None:
        with interrupt.listening():
            with interrupt.listening():
                ctrl_c()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert interrupt.requested
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_handler_of_somebody_else_stays() -> None:
    """An application that handles Ctrl-C itself goes on doing so."""
    seen: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _frame: seen.append(number))
    interrupt = Interrupt()
    with interrupt.listening():
        ctrl_c()
    assert seen == [signal.SIGINT]
    assert not interrupt.requested


def test_other_threads_may_listen_too() -> None:
    """Only the main thread may set handlers; elsewhere nothing happens, and nothing breaks."""
    interrupt = Interrupt()
    done: list[bool] = []

    def work() -> None:
        with interrupt.listening():
            done.append(signal.getsignal(signal.SIGINT) is signal.default_int_handler)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
