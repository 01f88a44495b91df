"""A run that dies at any moment loses nothing, and doubles nothing."""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import mortal
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mortal import Killed
from result_lines import Row, finish, line, lines, run, side

from lokal.batch import journal
from lokal.batch.output import OutputOptions, open_output

ids = st.one_of(st.none(), st.sampled_from(["a", "b", "1", 1, "#0"]), st.integers(10, 99))
twins = st.builds(Row, st.sampled_from([None, "a"]), st.sampled_from("xxy"))
inputs = st.lists(st.builds(Row, ids, st.sampled_from("xyz")) | twins, max_size=12)
lives = st.lists(st.tuples(st.integers(0, 40), st.floats(0, 1)), max_size=6)


def whole_lines(path: Path) -> set[bytes]:
    """What a process that dies now leaves: lines with their newline."""
    found = set()
    for file in (path, side(path)):
        if file.exists():
            found |= {text for text in file.read_bytes().splitlines(True) if text[-1:] == b"\n"}
    return found


@settings(max_examples=250, deadline=None)
@given(
    rows=inputs,
    lives=lives,
    seed=st.integers(0, 999),
    unordered=st.booleans(),
    retries=st.lists(st.booleans(), min_size=7, max_size=7),
    parallel=st.integers(1, 12),
    slack=st.sampled_from([0, 4 << 20]),
)
def test_every_row_comes_once_whenever_the_process_dies(
    rows: list[Row],
    lives: list[tuple[int, float]],
    seed: int,
    unordered: bool,
    retries: list[bool],
    parallel: int,
    slack: int,
) -> None:
    """With failures that are tried again, ids that are not unique, and any order of finishing."""
    chance = random.Random(seed)
    numbers = itertools.count()
    kept: set[bytes] = set()

    def make(row: Row, index: int) -> bytes:
        failed = chance.random() < 0.3
        return line(row, index, failed=failed, attempt=next(numbers))

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "SLACK", slack)
        path = Path(folder, "out.jsonl")
        for (life, share), retry in zip([*lives, (None, 0.0)], retries, strict=False):
            if retry:
                kept = {text for text in kept if b'"error"' not in text}
            mortal.alive(patch, life, share)
            options = OutputOptions(unordered=unordered, retry_errors=retry)
            try:
                with open_output(str(path), options) as output:
                    output.begin()
                    finish(output, rows, chance, make, kept.add, parallel)
            except Killed:
                pass
            assert kept <= whole_lines(path)
        assert not side(path).exists()
        results = lines(path)
        asked = [(row.id, row.content) for row in rows]
        hashes = {Row(None, content).digest: content for content in "xyz"}
        got = [(found["id"], hashes[found["input_hash"]]) for found in results]
        assert Counter(got) == Counter(asked)
        if not unordered:
            assert got == asked
        once = {pair for pair, count in Counter(asked).items() if count == 1}
        for found, pair in zip(results, got, strict=True):
            if pair in once:
                assert asked[found["index"]] == pair


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("unordered", [False, True])
def test_trying_failed_rows_again_may_die_at_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unordered: bool, share: float
) -> None:
    """Step by step, with nothing, half or all of the last write done."""
    rows = [Row(f"row-{n}", "x") for n in range(8)]
    first = [line(row, n, failed=n in (2, 5)) for n, row in enumerate(rows)]
    good = {text for text in first if b'"error"' not in text}
    path = tmp_path / "out.jsonl"
    for life in range(100):
        path.write_bytes(b"".join(first))
        mortal.alive(monkeypatch, life, share)
        options = OutputOptions(unordered=unordered, retry_errors=True)
        died = False
        try:
            with open_output(str(path), options) as output:
                output.begin()
                finish(output, rows, random.Random(0))
        except Killed:
            died = True
            assert good <= whole_lines(path)
        mortal.alive(monkeypatch, None)
        run(path, rows, random.Random(1), unordered=unordered, retry_errors=True)
        found = [(result["id"], result["finish_reason"]) for result in lines(path)]
        asked = [(row.id, "stop") for row in rows]
        assert (sorted(found) if unordered else found) == asked
        assert good <= whole_lines(path)
        assert not side(path).exists()
        if not died:
            assert life > 10
            return
    pytest.fail("it never came to an end")


DRIVER = """
import random, sys, time
path, seed, tests = sys.argv[1:]
sys.path.append(tests)
from result_lines import Row, finish, line
from lokal.batch.output import open_output

chance = random.Random(seed)
rows = [Row(f"row-{n}", "x" * (n % 50)) for n in range(400)]

def slow(row, index):
    time.sleep(0.0005)
    return line(row, index, by=seed)

def say(_):
    sys.stdout.write(".")
    sys.stdout.flush()

with open_output(path) as output:
    output.begin()
    print(output.earlier.rows, flush=True)
    finish(output, rows, chance, slow, say, parallel=8)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_twenty_real_kills_lose_no_row_and_double_none(tmp_path: Path) -> None:
    """What was reported as finished is there for the next process."""
    path = tmp_path / "out.jsonl"
    chance = random.Random(5)
    finished = 0
    for seed in range(21):
        command = [sys.executable, "-c", DRIVER, str(path), str(seed), str(Path(__file__).parent)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert finished <= int(process.stdout.readline())
            if seed < 20:
                finished += len(process.stdout.read(chance.randrange(1, 16)))
                time.sleep(chance.random() / 500)
                process.send_signal(signal.SIGKILL)
            finished += len(process.stdout.read())
        assert process.returncode == (-signal.SIGKILL if seed < 20 else 0)
    results = lines(path)
    assert [result["index"] for result in results] == list(range(400))
    assert len({result["by"] for result in results}) > 10, "the kills came too late to matter"
    assert not side(path).exists()
