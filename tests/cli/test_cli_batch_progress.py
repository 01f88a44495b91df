"""What people are told of a batch while it runs."""

from __future__ import annotations

import pytest

from lokal.batch.job import Counts
from lokal.batch.rows import Row
from lokal.cli import watchers
from lokal.cli.watchers import LineWatcher
from lokal.completion import failed
from lokal.errors import UsageError

ROW = Row(0, 1, None)
FAILED = failed(UsageError("wrong", hint="right"))


class Clock:
    """Stands in for the module `time`."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(watchers, "time", clock)
    return clock


def counts(**fields: int) -> Counts:
    made = Counts()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def told(watcher: LineWatcher, state: Counts, capsys: pytest.CaptureFixture[str]) -> str:
    watcher.skip(state)
    return capsys.readouterr().err


def test_a_line_now_and_then(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    watcher = LineWatcher(1000)
    state = counts(taken=20, end=250, done=11, failed=1, generated=400)
    clock.now += 4.9
    assert told(watcher, state, capsys) == ""
    clock.now += 5.1
    assert told(watcher, state, capsys) == "11 rows, 1 failed, 40 tokens/s, 63 s left\n"
    assert told(watcher, state, capsys) == ""


def test_rows_that_were_there_promise_nothing(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Skipping 900 of 990 rows takes no time; the others do."""
    watcher = LineWatcher(9_900)
    clock.now += 10
    state = counts(taken=915, end=9150, skipped=900, done=10)
    assert told(watcher, state, capsys) == "10 rows, 900 were there, 80 s left\n"


def test_nobody_knows_how_long_before_most_of_the_first_rows_ended(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 48 rows that began together the first one to end was short."""
    watcher = LineWatcher(10_000)
    clock.now += 10
    state = counts(taken=49, end=490, done=1, generated=500)
    assert told(watcher, state, capsys) == "1 row, 50 tokens/s\n"


def test_of_a_pipe_nobody_knows_the_end(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    watcher = LineWatcher(None)
    clock.now += 10
    assert (
        told(watcher, counts(taken=1, end=10, done=1, skipped=1), capsys) == "1 row, 1 was there\n"
    )


def test_the_end_is_told_if_there_was_anything(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with LineWatcher(None):
        pass
    assert capsys.readouterr().err == ""
    with LineWatcher(None) as watcher:
        clock.now += 2
        watcher.row(ROW, FAILED, counts(taken=3, done=3, failed=1, generated=50))
    assert capsys.readouterr().err == "failed: wrong\n3 rows in 2 s, 1 failed, 25 tokens/s\n"
