"""stdout is data, stderr is everything else, and stdin is read where there is something to read."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import ggufs
import pytest
from command import Llm, Terminal, assert_error, finish

ANSWER = ("hello", "--temp", "0", "-n", "60", "--ignore-eos")
ESCAPE = "\x1b"


def on_terminal(
    llm: Llm, *args: Path | str, env: dict[str, str] | None = None
) -> tuple[bytes, int]:
    """What a process with all three streams on one terminal shows, and its exit code."""
    with Terminal() as terminal, llm.start(*args, **terminal.streams, env=env) as process:
        code = process.wait(60)
        return terminal.drain(), code


def test_the_bytes_are_the_same_everywhere(llm: Llm, llama: Path) -> None:
    """A pipe, a file and a terminal get the same answer, ending in exactly one newline."""
    args = ("run", llama, *ANSWER, "-q")
    piped = llm.run(*args).stdout
    path = llm.home / "out"
    with path.open("wb") as file:
        assert llm.run(*args, stdout=file.fileno()).code == 0
    assert path.read_bytes() == piped
    shown, code = on_terminal(llm, *args)
    assert code == 0
    # A terminal's own line discipline is between us and it.
    assert shown == piped.replace(b"\r\n", b"\n")
    assert piped.endswith(b"\n")
    assert not piped.endswith(b"\n\n")


@pytest.mark.parametrize("stop", [["--stop", "\n"], ["-n", "1"]])
def test_exactly_one_newline_ends_the_answer(llm: Llm, tiny: Path, stop: list[str]) -> None:
    """However the answer ends, stdout ends in one newline."""
    assert tiny.exists()
    printed = llm.run("run", "tiny", "Tell me a story.", "--seed", "1", *stop).stdout
    assert printed.endswith(b"\n")
    assert not printed.endswith(b"\n\n")


@pytest.mark.parametrize(
    "args",
    [
        ("--help",),
        ("run", "--help"),
        (),
        ("models",),
        ("run", "nosuchmodel", "x"),
        ("run", "{llama}", *ANSWER, "-v"),
    ],
)
def test_no_escape_codes_in_a_pipe_and_under_no_color(
    llm: Llm, llama: Path, args: tuple[str, ...]
) -> None:
    """Neither stream colours where nobody could see it, nor where nobody wants it."""
    args = tuple(arg.format(llama=llama) for arg in args)
    result = llm.run(*args, env={"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"})
    # What a model writes is its own affair.
    own = result.stderr if "-v" in args else result.stderr + result.text
    assert own
    assert ESCAPE not in own
    if "-v" not in args:
        shown, _ = on_terminal(llm, *args, env={"NO_COLOR": "1"})
        assert ESCAPE.encode() not in shown


@pytest.mark.parametrize("redirection", ["<&-", "2>&-", "<&- 2>&-", "2>/dev/full"])
def test_closed_streams_cost_nothing(llm: Llm, llama: Path, redirection: str) -> None:
    """Without stdin or stderr the answer is the same."""
    result = llm.shell(f'llm run "$1" {" ".join(ANSWER)} {redirection}', llama)
    assert result.code == 0
    assert result.stdout == llm.run("run", llama, *ANSWER).stdout


def test_a_closed_stdout_is_an_error(llm: Llm, llama: Path) -> None:
    """An answer that nobody can get is not worth computing, and -o still works."""
    assert_error(llm.shell('llm run "$1" hello -n 3 >&-', llama), 2, "standard output is closed")
    done = llm.shell('llm run "$1" hello -n 3 -q -o "$2" >&-', llama, llm.home / "out")
    assert (done.code, done.stderr) == (0, "")
    assert (llm.home / "out").read_bytes().endswith(b"\n")


@pytest.mark.parametrize(
    "command",
    ['run "$1" hello -q --ignore-eos', "models", "--help", "run --help", "", "--version"],
)
def test_a_reader_that_went_away_is_no_failure(llm: Llm, endless: Path, command: str) -> None:
    """Exit code 141, and not a word."""
    script = f'{{ sleep 0.3; llm {command}; echo $? >"$2"; }} | true; cat "$2"'
    # The shell waits for the whole pipeline.
    result = llm.shell(script, endless, llm.home / "code")
    assert result.stdout == b"141\n"
    assert result.stderr == ""


def test_head_gets_its_bytes_and_ends_the_answer(llm: Llm, endless: Path) -> None:
    """`| head -c 5` gives five bytes of a long answer and stops it quietly."""
    script = 'llm run "$1" hello -q --temp 0 --ignore-eos | head -c 5; echo -n " ${PIPESTATUS[0]}"'
    result = llm.shell(script, endless)
    whole = llm.run("run", endless, *ANSWER).stdout
    assert result.stdout == whole[:5] + b" 141"
    assert result.stderr == ""


@pytest.mark.parametrize(
    "command",
    ['run "$1" hello -n 3', 'run "$1" hello -n 3 --json', "models", "--version", ""],
)
def test_a_full_disk_behind_stdout_is_told_once(llm: Llm, llama: Path, command: str) -> None:
    """One error, exit code 6, and no complaint of the interpreter after it."""
    result = llm.shell(f"llm {command} >/dev/full", llama)
    assert_error(result, 6, "cannot write to standard output: No space left on device")


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_a_full_disk_behind_output_is_told_once(llm: Llm, llama: Path, extra: list[str]) -> None:
    """The same for -o; with --json the error object goes to stdout."""
    result = llm.run("run", llama, "hello", "-n", "3", "-o", "/dev/full", *extra)
    assert_error(result, 6, "cannot write to /dev/full", as_json=bool(extra))


def test_a_silent_pipe_is_told(llm: Llm, llama: Path) -> None:
    """An open pipe that stays silent gets a notice, then the answer comes all the same."""
    with llm.start("run", llama, "-n", "3", stdin=subprocess.PIPE) as process:
        assert process.stderr
        assert process.stdin
        notice = process.stderr.readline()
        assert notice.startswith(b"note: waiting for standard input")
        assert b"--no-stdin" in notice
        process.stdin.write(b"hello")
        process.stdin.close()
        process.stdin = None
        assert finish(process).code == 0


def test_a_wrong_name_is_told_before_stdin_is_read(llm: Llm) -> None:
    """Nobody waits for the end of a slow pipe to learn of a typo."""
    with llm.start("run", "tinny", stdin=subprocess.PIPE) as process:
        assert process.wait(30) == 3
        assert finish(process).stderr.startswith("error: there is no model named 'tinny'")


def test_stdin_at_a_terminal_is_read_only_for_a_dash(llm: Llm, llama: Path) -> None:
    """At a terminal nobody has to press Ctrl-D, unless the prompt is `-`."""
    with Terminal() as terminal:
        with llm.start("run", llama, "hello", "--dry-run", stdin=terminal.slave) as process:
            assert b"hello[/INST]" in finish(process).stdout
        with llm.start("run", llama, "-", "--dry-run", stdin=terminal.slave) as process:
            terminal.type(b"typed\n\x04")
            assert b"[INST] typed[/INST]" in finish(process).stdout


def test_stdin_that_cannot_be_read_is_told(llm: Llm, llama: Path) -> None:
    """A descriptor that is open for writing only."""
    with (llm.home / "out").open("wb") as file:
        assert_error(llm.run("run", llama, "hello", stdin=file.fileno()), 2, "standard input")


@pytest.mark.parametrize("verbosity", [[], ["-v"], ["-vv"]])
@pytest.mark.parametrize("model", ["{llama}", "{broken}"])
def test_the_native_log_shows_under_vv_only(
    llm: Llm, llama: Path, model: str, verbosity: list[str]
) -> None:
    """llama.cpp's lines stay away, when loading fails too, until -vv asks for them."""
    broken = ggufs.write(llm.home / "broken.gguf", "martian")
    path = model.format(llama=llama, broken=broken)
    result = llm.run("run", path, "hello", "-n", "2", *verbosity)
    assert result.code == (12 if "broken" in model else 0)
    native = [line for line in result.stderr.splitlines() if re.match(r"\w+: ", line)]
    native = [line for line in native if line.split(":")[0] not in ("error", "hint", "note")]
    assert bool(native) == (verbosity == ["-vv"]), native
    assert not any(b"llama_" in line for line in result.stdout.splitlines())


def test_control_characters_never_reach_the_terminal(llm: Llm, tmp_path: Path) -> None:
    """What a file or an argument says about itself is spelled out in messages and tables."""
    hostile = f"{ESCAPE}[31mred\nline"
    path = ggufs.write(tmp_path / "x.gguf", metadata={"general.name": hostile})
    shown = llm.run("show", path).text
    assert r"\x1b[31mred\nline" in shown
    assert ESCAPE not in shown
    assert_error(llm.run("run", path, "hi", "-f", hostile), 2, r"\x1b[31mred\nline")


def test_json_is_utf8_whatever_the_path(llm: Llm, llama: Path) -> None:
    """A file name that is no UTF-8 does not make the JSON unreadable."""
    path = llm.home / os.fsdecode(b"we\xffird.gguf")
    path.symlink_to(llama)
    model = llm.run("run", path, "hi", "-n", "2", "--json").json["model"]
    assert model.endswith("we\ufffdird.gguf")
