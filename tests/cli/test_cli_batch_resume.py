"""A job that is killed at any moment goes on where it was."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import TIMEOUT, Llm, assert_error, finish

KILLS = 20


def write_rows(path: Path, count: int, **fields: Any) -> list[str]:
    """An input of rows whose answers are of different lengths; returns their ids."""
    ids = [f"row-{n}" for n in range(count)]
    with path.open("w") as file:
        for n, id_ in enumerate(ids):
            row = {"id": id_, "prompt": f"Story {n}", "max_tokens": 5 + 17 * n % 40, **fields}
            file.write(json.dumps(row) + "\n")
    return ids


def arguments(source: Path, target: Path, *more: str) -> tuple[str | Path, ...]:
    return ("batch", "tiny", source, "-o", target, "-t", "1", "-j", "4", "--ignore-eos", *more)


def finished(path: Path) -> list[bytes]:
    """Whole lines of results."""
    if not path.exists():
        return []
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def pending(path: Path) -> Path:
    return path.with_name(path.name + ".pending")


def ids_in(path: Path) -> list[Any]:
    return [json.loads(line)["id"] for line in path.read_bytes().splitlines()]


def size(path: Path) -> int:
    return sum(p.stat().st_size for p in (path, pending(path)) if p.exists())


def wait_until(process: subprocess.Popen[bytes], condition: Callable[[], object]) -> None:
    """Until it is so, or the process has ended."""
    deadline = time.monotonic() + TIMEOUT
    while process.poll() is None and not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def disturbed(llm: Llm, args: tuple[str | Path, ...], target: Path, number: int) -> int:
    """Start it and send it a signal as soon as it has written something; returns its exit code."""
    with llm.start(*args) as process:
        wait_until(process, lambda: len(finished(target)) > 2)
        process.send_signal(number)
        return finish(process).code


def test_twenty_kills_cost_no_row(llm: Llm) -> None:
    """None is lost, none comes twice, and what was finished is not done again."""
    chance = random.Random(11)
    source, target = llm.home / "rows.jsonl", llm.home / "out.jsonl"
    ids = write_rows(source, 300)
    args = arguments(source, target)
    killed, kept = 0, set[bytes]()
    for _ in range(KILLS):
        before, growth = size(target), chance.choice([1, 1000, 3000, 6000])
        with llm.start(*args) as process:
            wait_until(process, lambda: size(target) >= before + growth)  # noqa: B023
            time.sleep(chance.uniform(0, 0.01))
            process.kill()
            process.communicate()
            killed += process.returncode == -signal.SIGKILL
        there = {*finished(target), *finished(pending(target))}
        assert kept <= there
        kept = there
    assert killed == KILLS
    assert llm.run(*args).code == 0
    assert kept <= set(finished(target))
    assert ids_in(target) == ids
    assert not pending(target).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_is_finished(llm: Llm, number: signal.Signals) -> None:
    """And the same command completes the rest."""
    source, target = llm.home / "rows.jsonl", llm.home / "out.jsonl"
    ids = write_rows(source, 60)
    args = arguments(source, target)
    code = disturbed(llm, args, target, number)
    assert code == (130 if number == signal.SIGINT else -signal.SIGTERM)
    before = finished(target)
    assert 2 < len(before) < 60
    result = llm.run(*args)
    assert (result.code, result.stdout) == (0, b"")
    assert f"{len(before)} " in result.stderr
    assert finished(target)[: len(before)] == before
    assert ids_in(target) == ids


def test_other_settings_are_refused_and_named(llm: Llm, llama: Path) -> None:
    """Rows of one file have one origin, until --restart."""
    source, target = llm.home / "rows.jsonl", llm.home / "out.jsonl"
    write_rows(source, 2)
    args = arguments(source, target, "-n", "3")
    assert llm.run(*args).code == 0
    before = target.read_bytes()
    for change, named in [
        (("--temp", "0.1"), "temperature 0.7, now 0.1"),
        (("-s", "Be brief."), "system none, now Be brief."),
        (("--template", "Say {prompt}"), "template none, now Say {prompt}"),
        (("-c", "512"), "ctx 1024, now 512"),
        (("--raw",), "chat_template"),
    ]:
        refused = llm.run(*args, *change)
        assert_error(refused, 2, f"{target} was made with other settings: {named}", "--restart")
    other = ("batch", llama, *args[2:])
    assert_error(llm.run(*other), 2, "was made with another model: tiny, now", "--restart")
    assert target.read_bytes() == before
    assert llm.run(*args, "-s", "Be brief.", "--restart").code == 0
    assert ids_in(target) == ["row-0", "row-1"]
    assert_error(llm.run(*args), 2, "system Be brief., now none")


def test_how_it_runs_is_no_setting(llm: Llm) -> None:
    """Threads, parallel rows and the order of the output may change between runs."""
    source, target = llm.home / "rows.jsonl", llm.home / "out.jsonl"
    write_rows(source, 4)
    args = arguments(source, target)
    assert llm.run(*args, "--limit", "2").code == 0
    done = llm.run(*args, "-j", "2", "-t", "2", "--unordered", "--seed", "5", "-v")
    assert done.code == 0, done
    assert sorted(ids_in(target)) == [f"row-{n}" for n in range(4)]


def test_rows_that_are_added_later_are_done_later(llm: Llm) -> None:
    """The input may grow; rows in front of the old ones are new, the old ones keep their ids."""
    source, target = llm.home / "rows.jsonl", llm.home / "out.jsonl"
    ids = write_rows(source, 3)
    args = arguments(source, target, "-n", "2")
    assert llm.run(*args).code == 0
    before = finished(target)
    with source.open("a") as file:
        file.write('{"id": "new", "prompt": "x"}\n')
    assert llm.run(*args).code == 0
    assert finished(target)[:3] == before
    assert ids_in(target) == [*ids, "new"]
    source.write_text('{"id": "first", "prompt": "y"}\n' + source.read_text())
    assert llm.run(*args).code == 0
    assert ids_in(target) == [*ids, "new", "first"]


def test_a_row_that_changed_is_told(llm: Llm) -> None:
    """Its old answer stays; nobody loses a night's work to a typo that was mended."""
    source, target = llm.home / "rows.jsonl", llm.home / "out.jsonl"
    write_rows(source, 3)
    args = arguments(source, target, "-n", "2")
    llm.run(*args)
    before = target.read_bytes()
    source.write_text(source.read_text().replace("Story 1", "Another story"))
    result = llm.run(*args)
    assert result.code == 0
    assert "note: the input has changed in 1 row that an earlier run did" in result.stderr
    assert target.read_bytes() == before


def test_failed_rows_are_tried_again_on_demand(llm: Llm) -> None:
    """They stay as they are without --retry-errors, and go to their places with it."""
    source, target = llm.home / "rows.jsonl", llm.home / "out.jsonl"
    ids = write_rows(source, 6)
    text = source.read_text()
    source.write_text(text.replace('"max_tokens": 22', '"max_tokens": 0'))
    args = arguments(source, target)
    assert llm.run(*args).code == 11
    before = finished(target)
    assert json.loads(before[1])["finish_reason"] == "error"
    again = llm.run(*args)
    assert again.code == 11
    assert "1 of 6 rows failed" in again.stderr
    assert "--retry-errors tries them again" in again.stderr
    source.write_text(text)
    assert finished(target) == before
    assert llm.run(*args, "--retry-errors").code == 0
    after = finished(target)
    assert ids_in(target) == ids
    assert [n for n in range(6) if after[n] != before[n]] == [1]


def test_of_two_runs_on_one_file_the_second_is_refused(llm: Llm) -> None:
    """Under whatever name, and it leaves the first one in peace."""
    target = llm.home / "out.jsonl"
    (llm.home / "link").symlink_to(target)
    args = ("batch", "tiny", "-t", "1", "-n", "2", "-o")
    with llm.start(*args, target, stdin=subprocess.PIPE) as process:
        assert process.stdin
        process.stdin.write(b"one\n")
        process.stdin.flush()
        wait_until(process, lambda: finished(target))
        for name in (target, llm.home / "link"):
            second = llm.run(*args, name, stdin=b"two\n")
            assert_error(second, 2, "another run is writing to")
        process.stdin.write(b"three\n")
        process.stdin.close()
        process.stdin = None
        assert finish(process).code == 0
    assert len(finished(target)) == 2


def test_a_full_disk_is_told_and_the_same_command_continues(llm: Llm) -> None:
    """The file is whole up to its last line, and no row is lost."""
    source, target = llm.home / "rows.jsonl", llm.home / "out.jsonl"
    ids = write_rows(source, 40)
    args = arguments(source, target)
    # What ulimit forbids fails as on a full disk, once the signal for it is ignored.
    script = 'trap "" XFSZ; ulimit -f 5; llm "$@"'
    result = llm.shell(script, *args)
    assert result.code == 6
    assert "error: cannot write to" in result.stderr
    assert "the same command continues" in result.stderr
    assert "Traceback" not in result.stderr
    before = finished(target)
    assert b"".join(before) == target.read_bytes()
    assert 0 < len(before) < 40
    assert llm.run(*args).code == 0
    assert finished(target)[: len(before)] == before
    assert ids_in(target) == ids
    assert not pending(target).exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"my diary\n", "holds something else than results"),
        (b'{"text": "not ours"}\n', "line 1 of"),
        (b"GGUF....", "is a model"),
    ],
)
def test_files_of_others_are_left_alone(llm: Llm, content: bytes, words: str) -> None:
    source, target = llm.home / "rows.jsonl", llm.home / "out.jsonl"
    write_rows(source, 1)
    target.write_bytes(content)
    assert_error(llm.run(*arguments(source, target)), 2, words)
    assert target.read_bytes() == content


@pytest.mark.parametrize("link", [None, "symbolic", "hard"])
def test_the_input_is_never_the_output(llm: Llm, link: str | None) -> None:
    """Whatever it is called, --restart or not."""
    source = target = llm.home / "rows.jsonl"
    write_rows(source, 2)
    before = source.read_bytes()
    if link:
        target = llm.home / "other"
        target.symlink_to(source) if link == "symbolic" else target.hardlink_to(source)
    for more in ((), ("--restart",)):
        assert_error(llm.run(*arguments(source, target, *more)), 2, "is the input itself")
        result = llm.shell('llm batch tiny -o "$1" < "$2"', target, source)
        assert_error(result, 2, "is the input itself")
    assert source.read_bytes() == before


def test_answers_alone_are_not_continued(llm: Llm) -> None:
    """A line of --text says nothing about the row that it came from."""
    source, target = llm.home / "rows.jsonl", llm.home / "out.txt"
    write_rows(source, 3)
    args = arguments(source, target, "-n", "2", "--text")
    assert llm.run(*args).code == 0
    before = target.read_text()
    assert before.count("\n") == 3
    assert_error(llm.run(*args), 2, "plain answers cannot be continued")
    assert target.read_text() == before
    assert llm.run(*args, "--restart").code == 0
    assert target.read_text().count("\n") == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_directory_that_cannot_be_written(llm: Llm) -> None:
    source, folder = llm.home / "rows.jsonl", llm.home / "folder"
    write_rows(source, 1)
    folder.mkdir(mode=0o500)
    assert_error(llm.run(*arguments(source, folder / "out")), 2, "cannot write to")


def test_rows_that_the_input_does_not_have_are_told(llm: Llm) -> None:
    """Without ids a changed row is another one, and the old answer stays."""
    rows, out = llm.home / "rows.txt", llm.home / "out.jsonl"
    rows.write_text("a fox\nan owl\na bear\n")
    assert llm.run("batch", "tiny", rows, "-o", out, "-n", "2").code == 0
    rows.write_text("a fox\na hen\na bear\n")
    result = llm.run("batch", "tiny", rows, "-o", out, "-n", "2")
    assert result.code == 0
    assert "has 1 row more, of which the input has no row now, or another one" in result.stderr
    assert len(out.read_bytes().splitlines()) == 4


def test_failed_rows_that_are_gone_are_told(llm: Llm) -> None:
    """They are taken out, and not silently; with a part of the input it cannot be known."""
    rows, out = llm.home / "rows.jsonl", llm.home / "out.jsonl"
    rows.write_text('{"id": "ok", "prompt": "Hi"}\n{"id": "bad"}\n')
    retry = ("batch", "tiny", rows, "-o", out, "-n", "2", "--retry-errors")
    assert llm.run(*retry).code == 11
    assert_error(llm.run(*retry, "--limit", "1"), 2, "--retry-errors needs the whole input")
    rows.write_text('{"id": "ok", "prompt": "Hi"}\n')
    result = llm.run(*retry)
    assert result.code == 0
    assert "not in the input any more, and taken out: 1 row that had failed" in result.stderr
