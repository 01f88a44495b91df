"""Ctrl-C, at every moment."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from command import Llm, Result, Terminal, finish

SOON = 5.0  # seconds; a person's patience, many times what it takes


def interrupt(process: subprocess.Popen[bytes], times: int = 1) -> Result:
    """Press Ctrl-C, and see that it ends soon."""
    start = time.monotonic()
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    result = finish(process)
    assert time.monotonic() - start < SOON
    return result


def wait_for(process: subprocess.Popen[bytes], prefix: bytes) -> bytes:
    """Wait for a line on stderr that begins like this."""
    assert process.stderr
    for line in process.stderr:
        if line.startswith(prefix):
            return line
    raise AssertionError(prefix)


@pytest.mark.parametrize("times", [1, 2])
def test_while_it_writes(llm: Llm, endless: Path, times: int) -> None:
    """What was written stays, ends in a newline, and the exit code is 130."""
    with llm.start("run", endless, "hello", "--ignore-eos", "--temp", "0") as process:
        assert process.stdout
        first = process.stdout.read(20)
        result = interrupt(process, times)
    # The second one may find the first one's work done, and the process on its way out.
    assert result.code == 130
    assert result.stderr == ""
    if times == 1:
        assert result.stdout.endswith(b"\n")
    whole = llm.run("run", endless, "hello", "--ignore-eos", "--temp", "0", "-n", "10").stdout
    assert (first + result.stdout).startswith(whole.removesuffix(b"\n")[:20])


def test_while_it_writes_json(llm: Llm, endless: Path) -> None:
    """One JSON value with what came so far; `finish_reason` is `aborted`."""
    args = ("run", endless, "hello", "--ignore-eos", "--json", "-vv")
    with llm.start(*args) as process:
        wait_for(process, b"sched_reserve: reserve took")
        time.sleep(0.5)
        result = interrupt(process)
    assert result.code == 130
    assert result.json["finish_reason"] == "aborted"
    assert result.json["usage"]["completion_tokens"] > 0
    assert result.json["text"]


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_while_it_writes_several_answers(llm: Llm, endless: Path, extra: list[str]) -> None:
    """What there is of each of them stays."""
    args = ("run", endless, "hello", "--ignore-eos", "--n", "3", "-c", "2048", "-vv", *extra)
    with llm.start(*args) as process:
        wait_for(process, b"sched_reserve: reserve took")
        time.sleep(0.5)
        result = interrupt(process)
    assert result.code == 130
    if extra:
        assert [answer["finish_reason"] for answer in result.json] == ["aborted"] * 3
        assert all(answer["text"] for answer in result.json)
    else:
        assert len(result.stdout) > 20


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_while_it_reads_a_long_prompt(llm: Llm, slow: Path, extra: list[str]) -> None:
    """A prompt of thousands of tokens is left in the middle."""
    path = llm.home / "long"
    path.write_text("x " * 15000)
    with llm.start("run", slow, "-f", path, "-vv", *extra) as process:
        wait_for(process, b"sched_reserve: reserve took")
        time.sleep(0.3)
        result = interrupt(process)
    assert result.code == 130
    if extra:
        assert result.json["finish_reason"] == "aborted"
        assert result.json["text"] == ""
        assert result.json["usage"]["completion_tokens"] == 0
    else:
        assert result.stdout == b"\n"


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_while_it_waits_for_stdin(llm: Llm, llama: Path, extra: list[str]) -> None:
    """Nothing was begun, so nothing is written."""
    with llm.start("run", llama, *extra, stdin=subprocess.PIPE) as process:
        wait_for(process, b"note: waiting for standard input")
        result = interrupt(process)
    assert (result.code, result.stdout, result.stderr) == (130, b"", "")


def test_the_key_at_a_terminal(llm: Llm, endless: Path) -> None:
    """Ctrl-C as a person presses it: the terminal sends the signal."""
    with Terminal() as terminal:
        args = ("run", endless, "hello", "--ignore-eos", "--temp", "0", "--stop", "never")
        with llm.start(*args, **terminal.streams) as process:
            terminal.read_until(b"l")
            terminal.type(b"\x03")
            assert process.wait(SOON) == 130
            assert terminal.drain().endswith(b"\n")


@pytest.mark.parametrize("delay", [0.1, 0.15, 0.2])
def test_right_after_the_start(llm: Llm, llama: Path, delay: float) -> None:
    """As soon as our own code runs, even while it is still importing, there is no traceback."""
    with llm.start("run", llama, "hello", "--ignore-eos") as process:
        time.sleep(delay)
        result = interrupt(process)
    if ", in main" not in result.stderr and "Traceback" in result.stderr:
        pytest.skip("Python itself was still starting")
    assert (result.code, result.stderr) == (130, "")
