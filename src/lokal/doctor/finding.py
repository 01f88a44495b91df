"""What a check found, and a bound on how long one may look."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from lokal.doctor.patience import LateError, within
from lokal.errors import LokalError

State = Literal["ok", "note", "warning", "failure"]


class Finding(NamedTuple):
    """One line of the report; what is not ok says in `hint` what to do.

    `exit_code` is what a command that meets the failure ends with, 0 for all that is no failure.
    """

    name: str
    state: State
    message: str
    hint: str | None = None
    exit_code: int = 0

    def as_dict(self) -> dict[str, str | None]:
        """What `llm doctor --json` shows."""
        shown = ("name", "state", "message", "hint")
        return {key: getattr(self, key) for key in shown}


def ok(name: str, message: str) -> Finding:
    return Finding(name, "ok", message)


def note(name: str, message: str, hint: str) -> Finding:
    return Finding(name, "note", message, hint)


def warning(name: str, message: str, hint: str) -> Finding:
    return Finding(name, "warning", message, hint)


def failure(name: str, message: str, hint: str, exit_code: int = LokalError.exit_code) -> Finding:
    return Finding(name, "failure", message, hint, exit_code)


def failed(name: str, error: LokalError) -> Finding:
    """The failure that a command would have ended with."""
    return failure(name, error.message, error.hint, error.exit_code)


def bounded(
    name: str,
    check: Callable[[], Iterable[Finding]],
    seconds: float,
    broken: Callable[[Exception], object] = lambda _: None,
) -> list[Finding]:
    """What a check finds; also that it took too long, or broke, which `broken` is told of."""
    found: list[Finding] = []
    try:
        within(seconds, lambda: found.extend(check()))
    except LateError:
        late = f"no answer within {seconds:.0f} seconds"
        found.append(warning(name, late, "a disk or a network hangs; run `llm doctor` again"))
    except LokalError as error:
        found.append(failed(name, error))
    except OSError as error:
        broken(error)
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        found.append(failure(name, what, "see who may read it, and whether its disk is well"))
    except Exception as error:
        broken(error)
        broke = f"this check broke: {type(error).__name__}: {error}"
        found.append(failure(name, broke, "the rest of the report holds; please report this"))
    return found
