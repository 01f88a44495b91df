"""What each device writes, compared with what the CPU does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from traceback import format_exception
from typing import Any

import pytest

import lokal
from lokal.doctor import child, selftest
from lokal.doctor.child import ChildError, SilentError
from lokal.doctor.finding import Finding, bounded, ok
from lokal.errors import SpaceError

RIGHT = [*selftest.BEGINNING, *range(16)]


def answer(tokens: list[int]) -> dict[str, Any]:
    return {"tokens": tokens, "text": "words" if tokens else "", "rate": 123.4}


def states(gpus: list[str], answers: Mapping[str, Any]) -> list[Finding]:
    def trial(device: str, _seconds: float) -> Any:
        told = answers[device]
        if isinstance(told, Exception):
            raise told
        return answer(told)

    return list(selftest.check_devices(gpus, trial))


def test_devices_that_write_the_same_are_fine() -> None:
    cpu, gpu = states(["CUDA0"], {"cpu": RIGHT, "0": RIGHT})
    assert cpu == ok("self-test", "CPU: tiny writes 24 tokens at 123 tokens/s")
    assert gpu.state == "ok"
    assert gpu.message == "CUDA0: tiny writes 24 tokens at 123 tokens/s, the same as on the CPU"


def test_a_cpu_that_computes_something_else_is_broken() -> None:
    """Even if the GPU does the same."""
    cpu, gpu = states(["CUDA0"], {"cpu": RIGHT[1:], "0": RIGHT[1:]})
    assert (cpu.state, cpu.exit_code) == ("failure", 1)
    assert "other ones than it does elsewhere" in cpu.message
    assert gpu.state == "ok"


@pytest.mark.parametrize(("same", "state"), [(20, "warning"), (8, "warning"), (7, "failure")])
def test_only_a_late_difference_is_rounding(same: int, state: str) -> None:
    other = RIGHT[:same] + [99] * (24 - same)
    _, gpu = states(["CUDA0"], {"cpu": RIGHT, "0": other})
    assert (gpu.state, gpu.exit_code) == (state, int(state == "failure"))
    assert f"from the {same + 1}. on" in gpu.message


def test_a_gpu_that_fails_takes_no_other_along() -> None:
    """Its own words and exit code; the next one is tried and compared with the CPU."""
    space = SpaceError("cannot allocate", hint="free some")
    broken = ChildError(space.message, space.hint, space.exit_code)
    _, first, second, third = states(
        ["CUDA0", "CUDA1", "CUDA2"], {"cpu": RIGHT, "0": broken, "1": RIGHT, "2": []}
    )
    assert first == Finding("self-test", "failure", "CUDA0: cannot allocate", "free some", 6)
    assert second.state == "ok"
    assert (third.state, third.message) == ("failure", "CUDA2: nothing comes out")


def test_without_a_cpu_nothing_is_compared() -> None:
    dead = ChildError("crashed (SIGILL)", "install it again")
    cpu, first, second = states(["CUDA0", "CUDA1"], {"cpu": dead, "0": RIGHT, "1": [1, 2]})
    assert (cpu.state, cpu.message) == ("failure", "CPU: crashed (SIGILL)")
    assert (first.state, second.state) == ("warning", "warning")


def test_all_devices_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "SECONDS", 0.0)
    found = states(["CUDA0"], {})
    assert [finding.state for finding in found] == ["note", "note"]
    assert "not tried" in found[1].message


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a module that children can run."""

    def make(code: str) -> str:
        (tmp_path / "a_program.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(lokal.__file__).parents[1]}")
        return "a_program"

    return make


def test_a_child_that_crashes_is_told_with_its_last_words(program: Any) -> None:
    code = "import os, sys; sys.stderr.write('CUDA error: it broke\\n'); sys.stderr.flush()\n"
    with pytest.raises(ChildError, match=r"crashed \(SIGABRT: CUDA error: it broke\)"):
        child.ask(program(code + "os.abort()"), seconds=60)


def test_a_child_that_hangs_is_ended(program: Any) -> None:
    with pytest.raises(SilentError, match="not done within"):
        child.ask(program("import time; time.sleep(600)"), seconds=0.3)


def test_a_child_ends_when_nobody_waits_for_it(program: Any) -> None:
    """However its parent went: killed ones do not tell."""
    name = program(
        "import time\nfrom lokal.doctor.child import reply\nreply(lambda: time.sleep(60))"
    )
    child_ = subprocess.Popen([sys.executable, "-m", name], stdin=subprocess.PIPE)
    try:
        child_.communicate(timeout=20)
    finally:
        child_.kill()
    assert child_.returncode == 1


def test_a_machine_that_starts_no_process_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(ChildError, match="no process can be started: No such file"):
        child.ask("a_program", seconds=60)


def test_a_child_that_fails_says_why_itself(program: Any) -> None:
    code = """
from lokal.doctor.child import reply
from lokal.errors import SpaceError

def fail():
    raise SpaceError("no room", hint="make some")

reply(fail)
"""
    with pytest.raises(ChildError, match="no room") as caught:
        child.ask(program(code), seconds=60)
    assert (caught.value.hint, caught.value.exit_code) == ("make some", 6)


def test_a_check_that_breaks_or_hangs_is_a_finding() -> None:
    def breaks() -> list[Finding]:
        raise RuntimeError("oh")

    told: list[Exception] = []
    [found] = bounded("x", breaks, 60, told.append)
    assert "in breaks" in "".join(format_exception(told[0]))
    assert (found.state, found.exit_code) == ("failure", 1)
    assert "RuntimeError: oh" in found.message

    import threading

    never = threading.Event()
    [late] = bounded("x", lambda: [ok("x", "late")] if never.wait(60) else [], 0.05)
    never.set()
    assert late.state == "warning"
    assert "no answer within" in late.message
