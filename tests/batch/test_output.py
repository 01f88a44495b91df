"""Where finished rows go, and what is refused before anything is touched."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from result_lines import Row, finish, line, lines, run, side

from lokal.batch import disk, journal
from lokal.batch.output import File, Output, OutputOptions, Stream, open_output
from lokal.errors import SpaceError, UsageError

ROWS = [Row(f"row-{n}", f"content {n}") for n in range(10)]
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="a matter of POSIX")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def opened(path: Path, **options: Any) -> File:
    output = open_output(str(path), OutputOptions(**options))
    assert isinstance(output, File)
    return output


def order(path: Path) -> list[int]:
    return [result["index"] for result in lines(path)]


def test_a_file_gets_rows_in_input_order_whatever_order_they_finish_in(path: Path) -> None:
    run(path, ROWS, random.Random(1))
    assert order(path) == list(range(10))
    assert not side(path).exists()


def test_a_row_that_waits_is_on_disk_at_once(path: Path) -> None:
    with opened(path) as output:
        output.begin()
        tickets = [output.ticket() for _ in range(3)]
        output.put(tickets[2], line(ROWS[2], 2))
        assert side(path).read_bytes() == line(ROWS[2], 2)
        assert output.waiting == 1
        output.put(tickets[0], line(ROWS[0], 0))
        assert order(path) == [0]
        output.put(tickets[1], line(ROWS[1], 1))
        assert order(path) == [0, 1, 2]
        assert output.waiting == 0
        assert side(path).stat().st_size == 0


def test_unordered_rows_stand_as_they_finish(path: Path) -> None:
    with opened(path, unordered=True) as output:
        output.begin()
        tickets = [output.ticket() for _ in range(3)]
        for n in (2, 0, 1):
            output.put(tickets[n], line(ROWS[n], n))
        assert not side(path).exists()
    assert order(path) == [2, 0, 1]


def test_a_stream_gets_rows_in_order_too() -> None:
    sent: list[bytes] = []
    with Stream(sent.append) as output:
        output.begin()
        assert not output.done(0, None, ROWS[0].digest)
        tickets = [output.ticket() for _ in range(3)]
        output.put(tickets[1], b"1\n")
        assert (sent, output.waiting) == ([], 1)
        output.put(tickets[0], b"0\n")
        output.put(tickets[2], b"2\n")
    assert sent == [b"0\n", b"1\n", b"2\n"]


def test_a_stream_may_be_unordered() -> None:
    sent: list[bytes] = []
    with Stream(sent.append, unordered=True) as output:
        first, second = output.ticket(), output.ticket()
        output.put(second, b"1\n")
        output.put(first, b"0\n")
    assert sent == [b"1\n", b"0\n"]


def put(output: Output, numbers: Sequence[int], error: BaseException | None = None) -> None:
    """Four rows get tickets, those with these numbers finish, and something happens."""
    with output:
        output.begin()
        tickets = [output.ticket() for _ in range(4)]
        for n in numbers:
            output.put(tickets[n], line(ROWS[n], n))
        if error is not None:
            raise error


def test_after_ctrl_c_a_stream_gets_what_is_finished() -> None:
    """Nothing can be continued there, so rows that wait would be lost."""
    sent: list[bytes] = []
    with pytest.raises(KeyboardInterrupt):
        put(Stream(sent.append), [3, 1], KeyboardInterrupt())
    assert sent == [line(ROWS[1], 1), line(ROWS[3], 3)]


def test_a_stream_whose_reader_is_gone_gets_no_more() -> None:
    def write(_: bytes) -> None:
        calls.append(1)
        raise BrokenPipeError

    calls: list[int] = []
    with pytest.raises(BrokenPipeError):
        put(Stream(write), [2, 0])
    assert calls == [1]


def test_rows_that_are_there_are_not_computed_again(path: Path) -> None:
    run(path, ROWS[:6], random.Random(1))
    before = path.read_bytes()
    assert run(path, ROWS, random.Random(2)) == 4
    assert path.read_bytes().startswith(before)
    assert order(path) == list(range(10))


def test_a_clean_end_with_a_part_of_the_input_keeps_all_that_was_finished(path: Path) -> None:
    path.write_bytes(line(ROWS[0], 0))
    side(path).write_bytes(line(ROWS[5], 5) + line(ROWS[2], 2))
    assert run(path, ROWS[:3], random.Random(1)) == 1
    assert order(path) == [0, 1, 2, 5]
    assert not side(path).exists()


def test_an_interrupted_run_leaves_the_file_in_order(path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        put(opened(path), [2, 0], KeyboardInterrupt())
    assert order(path) == [0]
    assert side(path).exists()
    assert run(path, ROWS[:3], random.Random(1)) == 1
    assert order(path) == [0, 1, 2]


def test_rows_that_never_came_leave_the_rest_beside_the_file(path: Path) -> None:
    """A run may be ended early, by --max-errors for one."""
    with opened(path) as output:
        output.begin()
        output.ticket()
        output.put(output.ticket(), line(ROWS[1], 1))
    assert path.read_bytes() == b""
    assert run(path, ROWS[:2], random.Random(1)) == 1
    assert order(path) == [0, 1]


def test_failed_rows_are_kept_unless_they_are_to_be_tried_again(path: Path) -> None:
    path.write_bytes(b"".join(line(row, n, failed=n in (3, 7)) for n, row in enumerate(ROWS)))
    path.chmod(0o640)
    with opened(path) as output:
        assert (output.earlier.rows, output.earlier.failed) == (10, 2)
    assert run(path, ROWS, random.Random(1)) == 0
    with opened(path, retry_errors=True) as output:
        assert (output.earlier.rows, output.earlier.failed) == (8, 0)
    assert run(path, ROWS, random.Random(1), retry_errors=True) == 2
    assert order(path) == list(range(10))
    assert {result["finish_reason"] for result in lines(path)} == {"stop"}
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_torn_last_line_is_cut_off(path: Path) -> None:
    whole = line(ROWS[0], 0)
    torn = line(ROWS[1], 1)
    for size in range(len(torn)):
        path.write_bytes(whole + torn[:size])
        assert run(path, ROWS[:2], random.Random(1)) == 1
        assert path.read_bytes() == whole + torn


def test_zeros_that_a_crash_left_are_cut_off(path: Path) -> None:
    path.write_bytes(line(ROWS[0], 0) + bytes(4096))
    side(path).write_bytes(bytes(4096))
    run(path, ROWS[:2], random.Random(1))
    assert order(path) == [0, 1]


def test_nothing_is_touched_before_the_run_begins(path: Path) -> None:
    path.write_bytes(line(ROWS[0], 0) + b'{"id"')
    side(path).write_bytes(line(ROWS[2], 2))
    for options in ({}, {"restart": True}, {"retry_errors": True}, {"unordered": True}):
        with opened(path, **options):
            pass
        assert path.read_bytes() == line(ROWS[0], 0) + b'{"id"'
        assert side(path).read_bytes() == line(ROWS[2], 2)


def test_a_new_file_that_never_began_is_gone_again(path: Path) -> None:
    output = opened(path)
    assert path.exists()
    output.close(complete=False)
    assert not path.exists()


def test_an_input_without_rows_makes_an_empty_file(path: Path) -> None:
    run(path, [], random.Random(1))
    assert path.read_bytes() == b""


def test_a_restart_forgets_everything(path: Path) -> None:
    path.write_bytes(line(ROWS[0], 0) + b"no row\n")
    side(path).write_bytes(line(ROWS[2], 2))
    assert run(path, ROWS, random.Random(1), restart=True) == 10
    assert order(path) == list(range(10))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"buy milk", "holds something else"),
        (b"buy milk\n", "holds something else"),
        (b"\0" * 100, "holds something else"),
        (b'{"prompt": "hello"}\n', "line 1 of"),
        (b'{"prompt": "hel', "line 1 of"),
        (b'{"id": 1, "prompt": "hello"}\n', "line 1 of"),
        (b'{"id": 1, "prompt": "hello"}', "line 1 of"),
        (line(ROWS[0], 0) + b"broken\n" + line(ROWS[1], 1), "line 2 of"),
        (line(ROWS[0], 0) + line(ROWS[1], 1)[:50] + b"\n" + line(ROWS[2], 2), "line 2 of"),
        (line(ROWS[0], 0) + b"my notes", "line 2 of"),
        (line(ROWS[0], 0) + b"[" * 100_000 + b"\n" + line(ROWS[1], 1), "line 2 of"),
        (line(ROWS[0], 0, input_hash="xyz"), "line 1 of"),
        (line(ROWS[0], 0, index=True), "line 1 of"),
        (line(ROWS[0], 0) + line(ROWS[1], 1, fingerprint="f"), "different settings"),
        (line(ROWS[0], 0) + line(ROWS[1], 1, weights="w"), "different settings"),
        (b"GGUF" + bytes(100), "is a model"),
    ],
)
def test_somebody_else_s_file_is_left_alone(path: Path, content: bytes, what: str) -> None:
    path.write_bytes(content)
    with pytest.raises(UsageError, match=what):
        run(path, ROWS, random.Random(1))
    assert path.read_bytes() == content
    assert not side(path).exists()


def test_a_model_is_not_even_restarted_over(path: Path) -> None:
    path.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(UsageError, match="is a model"):
        run(path, ROWS, random.Random(1), restart=True)


def test_a_side_file_of_somebody_else_is_left_alone(path: Path) -> None:
    side(path).write_bytes(b"my notes\n")
    with pytest.raises(UsageError, match=r"line 1 of .*out\.jsonl\.pending"):
        run(path, ROWS, random.Random(1))
    assert not path.exists()


def test_a_directory_is_no_output(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write to"):
        open_output(str(tmp_path))
    with pytest.raises(UsageError, match="cannot write to"):
        open_output(str(tmp_path / "missing" / "out.jsonl"))


def test_where_no_side_file_can_be_is_told_at_once(path: Path) -> None:
    side(path).mkdir()
    with pytest.raises(UsageError, match="cannot write to"):
        open_output(str(path))


def test_the_input_is_not_written_over(path: Path) -> None:
    path.write_bytes(line(ROWS[0], 0))
    with path.open("rb") as file, pytest.raises(UsageError, match="is the input itself"):
        open_output(str(path), OutputOptions(restart=True), os.fstat(file.fileno()))
    assert path.read_bytes() == line(ROWS[0], 0)


def test_plain_answers_start_from_nothing(path: Path) -> None:
    with opened(path, resumable=False) as output:
        output.begin()
        tickets = [output.ticket() for _ in range(3)]
        for n in (2, 0, 1):
            output.put(tickets[n], b"answer %d\n" % n)
    assert path.read_bytes() == b"answer 0\nanswer 1\nanswer 2\n"
    with pytest.raises(UsageError, match="cannot be continued"):
        opened(path, resumable=False)
    with opened(path, resumable=False, restart=True) as output:
        output.begin()
    assert path.read_bytes() == b""


@POSIX
def test_a_link_leads_to_the_same_file_and_side_file(path: Path, tmp_path: Path) -> None:
    path.write_bytes(line(ROWS[0], 0, failed=True) + line(ROWS[1], 1))
    link = tmp_path / "elsewhere" / "link"
    link.parent.mkdir()
    link.symlink_to(path)
    with opened(link) as output:
        assert output._journal.path == side(path.resolve())
        with pytest.raises(UsageError, match="another run"):
            opened(path)
    run(link, ROWS[:2], random.Random(1), retry_errors=True)
    assert link.is_symlink()
    assert order(path) == [0, 1]


@POSIX
def test_a_pipe_and_a_device_are_streams(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        with open_output(str(pipe)) as output:
            output.begin()
            finish(output, ROWS, random.Random(1))
        assert reader.stdout is not None
        assert reader.stdout.read() == b"".join(line(row, n) for n, row in enumerate(ROWS))
    with open_output("/dev/null") as output:
        output.begin()
        assert finish(output, ROWS, random.Random(1)) == 10


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no such device")
def test_a_device_that_is_full_says_so() -> None:
    with pytest.raises(SpaceError, match="No space left"), open_output("/dev/full") as output:
        finish(output, ROWS, random.Random(1))


HOLD = """
import sys
from lokal.batch.output import open_output
with open_output(sys.argv[1]):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_is_refused_until_the_first_one_is_gone(path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(UsageError, match="another run is writing to"):
            opened(path)
        other.kill()
    run(path, ROWS, random.Random(1))
    assert order(path) == list(range(10))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG])
@pytest.mark.parametrize("unordered", [False, True])
def test_a_full_disk_ends_the_run_after_a_whole_line(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: int, unordered: bool
) -> None:
    """Wherever it is full, also in the middle of a line."""
    room = 0

    def write(fd: int, data: memoryview) -> int:
        nonlocal room
        if not room:
            raise OSError(code, os.strerror(code))
        written = os.write(fd, data[:room])
        room -= written
        return written

    class Full:
        def __getattr__(self, name: str) -> Any:
            return write if name == "write" else getattr(os, name)

    for room in range(0, 3000, 97):
        path.unlink(missing_ok=True)
        with monkeypatch.context() as patch:
            patch.setattr(disk, "os", Full())
            with pytest.raises(SpaceError, match=f"cannot write to .*{os.strerror(code)}") as told:
                run(path, ROWS * 2, random.Random(room), unordered=unordered)
        assert told.value.hint.endswith("the same command continues")
        assert all(file.read_bytes()[-1:] in (b"", b"\n") for file in path.parent.iterdir())
        run(path, ROWS * 2, random.Random(1), unordered=unordered)
        assert len(lines(path)) == 20


LIMITED = """
import random, resource, signal, sys
path, tests = sys.argv[1:]
sys.path.append(tests)
from result_lines import Row, run
from lokal.errors import SpaceError
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    run(Path(path), [Row(n, "x") for n in range(100)], random.Random(1))
except SpaceError as error:
    print(error.message)
"""


@POSIX
def test_a_real_limit_leaves_a_file_that_a_later_run_continues(path: Path) -> None:
    command = [sys.executable, "-c", LIMITED, str(path), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"cannot write to {path}: {os.strerror(errno.EFBIG)}\n"
    assert order(path) == list(range(len(order(path))))
    assert 4500 < path.stat().st_size <= 5000
    rows = [Row(n, "x") for n in range(100)]
    assert run(path, rows, random.Random(2)) < 100
    assert order(path) == list(range(100))


def test_the_side_file_does_not_grow_with_the_output(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many under way, some are always finished before those that began earlier."""
    monkeypatch.setattr(journal, "SLACK", 2000)
    sizes = []

    def look(_: bytes) -> None:
        sizes.append(side(path).stat().st_size)

    rows = [Row(n, "x" * (n % 7)) for n in range(1000)]
    with opened(path) as output:
        output.begin()
        finish(output, rows, random.Random(1), put=look, parallel=16)
    assert order(path) == list(range(1000))
    assert sizes[50:-50].count(0) < 10, "they did wait"
    assert max(sizes) < 20_000 < path.stat().st_size


@pytest.mark.parametrize(("rows", "failed"), [(100_000, False), (20_000, True)])
def test_continuing_many_rows_takes_little_memory(path: Path, rows: int, failed: bool) -> None:
    """Also where all but the first of them have to be put aside, because that one failed."""
    text = line(Row("row-%d", "x"), 0).replace(b'"index": 0', b'"index": %d')
    with path.open("wb") as file:
        file.writelines(text % (n, n) for n in range(rows))
        if failed:
            file.seek(0)
            file.write((text % (0, 0)).replace(b'"stop"', b'"error"').replace(b'"x"', b'""'))
    digest = Row(None, "x").digest
    tracemalloc.start()
    try:
        with opened(path, retry_errors=failed) as output:
            output.begin()
            begun = tracemalloc.get_traced_memory()[0]
            missing = [
                (output.ticket(), n) for n in range(rows) if not output.done(n, f"row-{n}", digest)
            ]
            assert output.waiting == (rows - 1 if failed else 0)
            peak = tracemalloc.get_traced_memory()[1]
            for ticket, n in missing:
                output.put(ticket, line(Row(f"row-{n}", "x"), n))
    finally:
        tracemalloc.stop()
    assert len(missing) == failed
    assert len(order(path)) == rows
    assert begun < 40 * rows + 100_000
    assert peak < 100 * rows + 2_000_000, "two chunks of a file, and a heap being sorted"


@pytest.mark.parametrize("by_place", [True, False])
def test_a_run_that_is_cut_off_leaves_no_hole_where_lines_have_no_index(by_place: bool) -> None:
    """The answers of --text are known by their place only; results are not."""
    got: list[bytes] = []
    stream = Stream(got.append, by_place=by_place)
    stream.begin()
    tickets = [stream.ticket() for _ in range(3)]
    stream.put(tickets[0], b"0\n")
    stream.put(tickets[2], b"2\n")
    stream.close(complete=False)
    assert got == ([b"0\n"] if by_place else [b"0\n", b"2\n"])
