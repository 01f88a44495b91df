"""What each device writes, compared with what the CPU does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from traceback import format_exception
from typing import Any

import pytest

from lokal.doctor import child, selftest
from lokal.doctor.child import ChildError, CrashError, SilentError
from lokal.doctor.finding import Finding, bounded, ok
from lokal.errors import SpaceError

RIGHT = list(range(24))


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
    dead = CrashError("crashed (SIGILL)", "install it again")
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
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return "a_program"

    return make


def test_a_child_that_crashes_is_told_with_its_last_words(program: Any) -> None:
    code = "import os, sys; sys.stderr.write('CUDA error: it broke\\n'); sys.stderr.flush()\n"
    with pytest.raises(CrashError, match=r"crashed \(SIGABRT: CUDA error: it broke\)"):
        child.ask(program(code + "os.abort()"), seconds=60)


def test_a_child_that_hangs_is_ended(program: Any) -> None:
    with pytest.raises(SilentError, match="not done within"):
        child.ask(program("import time; time.sleep(600)"), seconds=0.3)


def test_a_child_that_fails_says_why_itself(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise SpaceError("no room", hint="make some")

    child.reply(fail)
    assert capsys.readouterr().out == '{"error": ["no room", "make some", 6]}\n'


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
