"""A job: rows in, requests to a real model, a line for every row."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lokal
from lokal.batch import job as job_module
from lokal.batch.feed import AHEAD, Feed
from lokal.batch.job import Counts, Job, JobOptions, Watcher, escaped
from lokal.batch.output import Output, OutputOptions, Stream, open_output
from lokal.batch.rows import Row, read
from lokal.completion import Completion
from lokal.errors import BatchError, UsageError
from lokal.model import Model
from lokal.result import Origin

ORIGIN = Origin("tiny", "sha256:0", "f", 0.0)
SHORT = {"max_tokens": 3, "ignore_eos": True}


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with lokal.load("tiny", threads=1, parallel=4) as model:
        yield model


def rows(count: int, **changes: dict[str, Any]) -> list[Row]:
    """So many rows; `changes` are fields of a single one: r5={...}."""
    values = [
        {"id": f"r{n}", "prompt": f"Row {n}", **changes.get(f"r{n}", {})} for n in range(count)
    ]
    data = "".join(json.dumps(value) + "\n" for value in values)
    return list(read(io.BytesIO(data.encode()), "rows.jsonl"))


def run(model: Model, output: Output, given: list[Row], **options: Any) -> Counts:
    job = Job(model, ORIGIN, output, JobOptions(**{"sampling": SHORT, "seed": 1, **options}))
    with output:
        output.begin()
        job.run(given)
    return job.counts


def to_file(model: Model, path: Path, given: list[Row], **options: Any) -> Counts:
    return run(model, open_output(str(path), OutputOptions(**options)), given)


def found(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Lines(Stream):
    """Keeps what was sent, and how many rows had to wait at most."""

    def __init__(self, *, unordered: bool = False) -> None:
        self.sent: list[dict[str, Any]] = []
        self.most = 0
        super().__init__(lambda line: self.sent.append(json.loads(line)), unordered=unordered)

    def put(self, ticket: int, line: bytes) -> None:
        super().put(ticket, line)
        self.most = max(self.most, self.waiting)

    @property
    def ids(self) -> list[str]:
        return [row["id"] for row in self.sent]


def test_failed_rows_deep_in_a_long_output_are_tried_again(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that wait in the side file for them, however many, keep nobody from beginning."""
    monkeypatch.setattr(job_module, "WINDOW", 8)
    path = tmp_path / "out"
    broken = {"temperature": -1}
    assert to_file(model, path, rows(40, r3=broken, r30=broken)).failed == 2
    before = found(path)
    counts = to_file(model, path, rows(40), retry_errors=True)
    assert (counts.done, counts.failed, counts.skipped) == (2, 0, 38)
    after = found(path)
    assert [row["index"] for row in after] == list(range(40))
    assert {n for n in range(40) if after[n] != before[n]} == {3, 30}


@pytest.mark.parametrize("slow", ["broken", "whole"])
def test_few_rows_wait_for_a_slow_one(
    model: Model, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    """What is held in memory is bounded, also where the rows behind it are all broken."""
    monkeypatch.setattr(job_module, "WINDOW", 8)
    output = Lines()
    others = {"max_tokens": 1} if slow == "whole" else {"max_tokens": 0}
    given = rows(60, r0={"max_tokens": 60}, **{f"r{n}": others for n in range(1, 60)})
    counts = run(model, output, given)
    assert counts.done == 60
    assert output.ids == [row.id for row in given]
    assert output.most == 7


def test_nobody_waits_for_a_slow_row_in_an_unordered_output(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_module, "WINDOW", 8)
    output = Lines(unordered=True)
    run(model, output, rows(40, r0={"max_tokens": 200}, **{f"r{n}": {} for n in range(1, 40)}))
    assert output.ids[-1] == "r0"
    assert sorted(output.ids) == sorted(f"r{n}" for n in range(40))


def test_a_row_says_what_became_of_it(model: Model) -> None:
    """The shape that scripts rely on."""
    output = Lines()
    run(model, output, rows(2, r1={"top_p": 7}))
    done, failed = output.sent
    assert list(done) == [
        *("id", "index", "model", "text", "reasoning", "finish_reason", "usage", "timings"),
        *("seed", "weights", "fingerprint", "input_hash"),
    ]
    assert (done["id"], done["index"], done["finish_reason"], done["seed"]) == (
        "r0",
        0,
        "length",
        1,
    )
    assert done["usage"]["completion_tokens"] == 3
    assert list(failed) == [*list(done)[:-1], "error", "input_hash"]
    assert (failed["text"], failed["finish_reason"]) == (None, "error")
    assert failed["error"]["message"].startswith("line 2: top_p is 7")
    assert failed["error"]["code"] == "usage"


def test_the_job_ends_when_too_many_rows_have_failed(model: Model) -> None:
    output = Lines()
    changes = {f"r{n}": {"max_tokens": 0} for n in range(2, 10)}
    with pytest.raises(BatchError, match="more rows failed than --max-errors 2 allows"):
        run(model, output, rows(10, **changes), max_errors=2)
    assert run(model, Lines(), rows(10, **changes), max_errors=8).failed == 8


def test_ctrl_c_ends_it_while_rows_are_skipped(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A continued job may skip a million rows before the model has anything to do."""
    path = tmp_path / "out"
    to_file(model, path, rows(30))
    checks = iter([None] * 10)

    def check() -> None:
        if next(checks, "asked") == "asked":
            raise KeyboardInterrupt

    monkeypatch.setattr(model, "check_interrupt", check)
    skipped: list[int] = []

    class Skips(Watcher):
        def skip(self, counts: Counts) -> None:
            skipped.append(counts.skipped)

    with open_output(str(path)) as output:
        output.begin()
        job = Job(model, ORIGIN, output, JobOptions(SHORT, 1), Skips())
        with pytest.raises(KeyboardInterrupt):
            job.run(rows(30))
    assert len(skipped) <= 10
    assert len(found(path)) == 30


def test_the_watcher_is_told_every_row(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "out"
    to_file(model, path, rows(3))
    told: list[tuple[str, object]] = []

    class Told(Watcher):
        def row(self, row: Row, answer: Completion, counts: Counts) -> None:  # noqa: ARG002
            told.append(("row", row.id))

        def skip(self, counts: Counts) -> None:
            told.append(("skip", counts.skipped))

    with open_output(str(path)) as output:
        output.begin()
        job = Job(model, ORIGIN, output, JobOptions(SHORT, 1), Told())
        job.run(rows(5, r4={"max_tokens": 0}))
    assert told == [("skip", 1), ("skip", 2), ("skip", 3), ("row", "r4"), ("row", "r3")]
    counts = job.counts
    assert (counts.taken, counts.done, counts.failed, counts.cut) == (5, 2, 1, 1)
    assert counts.completion_tokens == 3


def test_text_stands_on_one_line() -> None:
    """And reads back, because the backslash is escaped too."""
    text = "a\\n\nb\r\\"
    assert escaped(text) == r"a\\n\nb\r\\"
    assert escaped(text).encode().decode("unicode_escape") == text


def test_a_feed_reads_ahead_but_not_everything() -> None:
    """A file of any length takes the memory of a few rows."""
    taken: list[int] = []

    def endless() -> Iterator[Row]:
        for number in range(10**9):
            taken.append(number)
            yield Row(number, number + 1, None)

    feed = Feed(endless(), lambda: None)
    for number in range(10):
        row = feed.get(wait=True)
        assert row is not None
        assert row.index == number
    assert len(taken) <= 10 + AHEAD + 1


def test_a_feed_ends_once_and_for_all() -> None:
    feed = Feed(iter([Row(0, 1, None)]), lambda: None)
    assert feed.get(wait=True)
    assert [feed.get(wait=wait) for wait in (True, True, False)] == [None, None, None]


def test_what_is_wrong_with_the_input_comes_out_after_the_rows_before() -> None:
    def breaking() -> Iterator[Row]:
        yield Row(0, 1, None)
        raise UsageError("cannot read it", hint="look")

    feed = Feed(breaking(), lambda: None)
    assert feed.get(wait=True)
    with pytest.raises(UsageError, match="cannot read it"):
        feed.get(wait=True)
    assert feed.get(wait=True) is None


def test_ctrl_c_that_ends_the_input_too_is_no_end_of_it() -> None:
    """In a pipeline everybody gets it, and whoever writes the rows may be the first to go."""

    def check() -> None:
        raise KeyboardInterrupt

    feed = Feed(iter(()), check)
    with pytest.raises(KeyboardInterrupt):
        feed.get(wait=True)
