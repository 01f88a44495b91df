"""How `llm batch` ends, and what it does while nothing comes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from command import TIMEOUT, Llm, Result, Terminal, assert_error, finish

SHORT = ("-n", "3", "--ignore-eos", "-t", "1")
SOON = 5.0  # seconds; a person's patience, many times what it takes


@pytest.fixture
def many(llm: Llm) -> Path:
    """More rows than any test waits for."""
    path = llm.home / "rows.jsonl"
    with path.open("w") as file:
        for n in range(20_000):
            file.write(json.dumps({"id": n, "prompt": f"A story {n}"}) + "\n")
    return path


def read_line(process: subprocess.Popen[bytes]) -> dict[str, object]:
    """One line and no byte more: what is read ahead is lost to `communicate`."""
    assert process.stdout
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(process.stdout.fileno(), 1)
        assert byte, line
        line += byte
    value = json.loads(line)
    assert isinstance(value, dict)
    return value


def write(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin
    process.stdin.write(data)
    process.stdin.flush()


def interrupt(process: subprocess.Popen[bytes]) -> Result:
    """Press Ctrl-C, and see that it ends soon."""
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    result = finish(process)
    assert time.monotonic() - start < SOON
    return result


def test_a_row_comes_out_before_the_next_one_goes_in(llm: Llm) -> None:
    """While the pipe is silent, what is under way goes on."""
    with llm.start("batch", "tiny", *SHORT, stdin=subprocess.PIPE) as process:
        for n in range(3):
            write(process, json.dumps({"id": n, "prompt": "A fox"}).encode() + b"\n")
            assert read_line(process)["id"] == n
        write(process, b'{"id": "last, without a newline", "prompt": "A fox"}')
        assert process.stdin
        process.stdin.close()
        process.stdin = None
        assert read_line(process)["index"] == 3
        assert finish(process).code == 0


def test_a_silent_pipe_is_told(llm: Llm) -> None:
    """Nobody stares at a hang; what comes then is answered."""
    with llm.start("batch", "tiny", *SHORT, stdin=subprocess.PIPE) as process:
        assert process.stderr
        assert process.stderr.readline() == b"note: waiting for rows from standard input\n"
        write(process, b"A fox\n")
        assert read_line(process)["index"] == 0


def test_batches_make_a_pipeline(llm: Llm) -> None:
    """What one of them writes the next one reads, row by row."""
    script = """
        printf 'A fox\\nA wombat\\n' | llm batch tiny -n 9 -t 1 -q |
        llm batch tiny -n 3 --ignore-eos -t 1 -q --template 'Explain: {text}'
    """
    result = llm.shell(script)
    assert result.stderr == ""
    assert [json.loads(line)["index"] for line in result.stdout.splitlines()] == [0, 1]


def test_head_gets_its_rows_and_ends_it(llm: Llm, many: Path) -> None:
    """Quietly: exit code 141, and nothing on stderr."""
    script = 'cat "$1" | llm batch tiny -n 2 -t 1 | head -3; echo "${PIPESTATUS[@]: -2}"'
    result = llm.shell(script, many)
    *lines, codes = result.stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [0, 1, 2]
    assert codes == b"141 0"
    assert result.stderr == ""


def test_a_closed_standard_output_is_an_error(llm: Llm) -> None:
    """Nobody computes for nobody; with -o it does no harm."""
    script = 'echo "A fox" | llm batch tiny -n 2 -t 1'
    assert_error(llm.shell(f"{script} >&-"), 2, "standard output is closed")
    target = llm.home / "out"
    done = llm.shell(f'{script} -q -o "$1" >&- 2>&-', target)
    assert (done.code, done.stderr) == (0, "")
    assert json.loads(target.read_bytes())["index"] == 0


def test_a_closed_standard_input_is_no_input(llm: Llm) -> None:
    assert_error(llm.shell("llm batch tiny <&-"), 2, "there are no rows")


def test_a_full_device_is_told(llm: Llm) -> None:
    result = llm.shell("echo x | llm batch tiny -q -n 2 -t 1 >/dev/full")
    assert_error(result, 6, "cannot write to standard output: No space left")


def test_ctrl_c_while_the_pipe_is_silent(llm: Llm) -> None:
    """Nothing is under way, and it ends all the same."""
    with llm.start("batch", "tiny", *SHORT, stdin=subprocess.PIPE) as process:
        write(process, b"A fox\n")
        read_line(process)
        result = interrupt(process)
    assert (result.code, result.stdout) == (130, b"")
    assert "Traceback" not in result.stderr


def test_ctrl_c_while_a_named_pipe_is_silent(llm: Llm) -> None:
    """Its reader holds the file, and nobody waits for it."""
    fifo = llm.home / "fifo"
    os.mkfifo(fifo)
    with llm.start("batch", "tiny", fifo, *SHORT) as process, fifo.open("wb") as writer:
        writer.write(b"A fox\n")
        writer.flush()
        read_line(process)
        result = interrupt(process)
    assert (result.code, result.stdout) == (130, b"")


def test_ctrl_c_before_the_first_row(llm: Llm) -> None:
    with llm.start("batch", "tiny", "-vv", stdin=subprocess.PIPE) as process:
        assert process.stderr
        for line in process.stderr:
            if b" sequences of at most" in line:
                break
        result = interrupt(process)
    assert (result.code, result.stdout) == (130, b"")
    assert "Traceback" not in result.stderr


def test_ctrl_c_while_it_loads(llm: Llm, many: Path) -> None:
    """Also where llama.cpp is about to say something, and no exception gets through it."""
    with llm.start("batch", "tiny", many, *SHORT, "-vv", stdout=subprocess.DEVNULL) as process:
        assert process.stderr
        for line in process.stderr:
            if line.startswith(b"llama_context: constructing"):
                break
        result = interrupt(process)
    assert result.code == 130
    assert "Traceback" not in result.stderr


def test_ctrl_c_at_a_terminal(llm: Llm, many: Path) -> None:
    """The whole process group gets it; finished rows are there, and each is whole."""
    target = llm.home / "out"
    with Terminal() as terminal:
        args = ("batch", "tiny", many, "-o", target, *SHORT)
        with llm.start(*args, **terminal.streams) as process:
            terminal.read_until(b" tokens/s")
            deadline = time.monotonic() + TIMEOUT
            while not target.stat().st_size:  # on a loaded machine a bar is there before a row
                assert time.monotonic() < deadline
                time.sleep(0.01)
            terminal.type(b"\x03")
            assert process.wait(SOON) == 130
            shown = terminal.drain()
    assert b"the same command goes on from here" in shown
    assert b"Traceback" not in shown
    lines = target.read_bytes().splitlines(keepends=True)
    assert lines
    assert [json.loads(line)["id"] for line in lines] == list(range(len(lines)))


def test_ctrl_c_in_a_pipeline(llm: Llm, many: Path) -> None:
    """Rows that were finished come out, also those that waited for an earlier one."""
    args = ("batch", "tiny", many, *SHORT)
    with llm.start(*args) as process:
        read_line(process)
        result = interrupt(process)
    assert result.code == 130
    rest = [json.loads(line)["id"] for line in result.stdout.splitlines()]
    assert rest == sorted(rest)
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["fifo", "/dev/stdout"])
def test_an_output_that_is_no_file(llm: Llm, name: str) -> None:
    """A named pipe gets the rows as standard output would."""
    target = name
    if name == "fifo":
        target = str(llm.home / name)
        os.mkfifo(target)
        script = 'cat "$1" & echo "A fox" | llm batch tiny -n 2 -t 1 -q -o "$1"; wait'
    else:
        script = 'echo "A fox" | llm batch tiny -n 2 -t 1 -q -o "$1" | cat'
    result = llm.shell(script, target)
    assert result.code == 0, result
    assert json.loads(result.stdout)["index"] == 0


def test_memory_does_not_grow_with_the_rows(llm: Llm, many: Path) -> None:
    """Four thousand rows take no more than five hundred."""

    def peak(limit: int) -> int:
        with llm.start(
            "batch", "tiny", many, "--limit", str(limit), "-n", "1", "-t", "1", "-q",
            stdout=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            deadline = time.monotonic() + TIMEOUT
            while True:
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if pid:
                    process.returncode = os.waitstatus_to_exitcode(status)
                    break
                assert time.monotonic() < deadline
                time.sleep(0.02)
        assert process.returncode == 0
        return usage.ru_maxrss

    assert peak(4000) < 1.1 * peak(500)
