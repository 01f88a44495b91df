"""Which rows of the input an earlier run has finished."""

from __future__ import annotations

from result_lines import Row, line

from lokal.batch.earlier import IN_FILE, Ledger, Result


def ledger(*rows: tuple[int, Row]) -> Ledger:
    """Finished rows with their places in the input; each begins at 100 times that place."""
    made = Ledger()
    for number, row in rows:
        result = Result.parse(line(row, number))
        assert result is not None
        made.add(result, number * 100)
    return made


def place(ledger: Ledger, number: int, row: Row) -> int | None:
    """Where a row of the input was found, if it was and has not changed."""
    found = ledger.take(number, row.id, row.digest)
    return found[0] if found and not found[1] else None


def test_an_id_is_found_wherever_it_stands_now() -> None:
    found = ledger((0, Row("a", "x")), (1, Row("b", "x")))
    assert place(found, 7, Row("b", "x")) == 100
    assert place(found, 8, Row("a", "x")) == 0


def test_without_an_id_place_and_content_count() -> None:
    found = ledger((0, Row(None, "x")), (1, Row(None, "y")))
    assert place(found, 1, Row(None, "x")) is None
    assert place(found, 0, Row(None, "z")) is None
    assert place(found, 1, Row(None, "y")) == 100
    assert place(found, 0, Row(None, "x")) == 0


def test_a_result_counts_once() -> None:
    found = ledger((0, Row("a", "x")), (2, Row("a", "x")))
    assert place(found, 2, Row("a", "x")) == 200
    assert place(found, 3, Row("a", "x")) == 0
    assert place(found, 4, Row("a", "x")) is None


def test_of_twins_the_one_in_the_file_goes_first() -> None:
    """Wherever they were in the input, what is in the file came before what is beside it."""
    found = ledger((2, Row("a", "x")))
    result = Result.parse(line(Row("a", "x"), 5))
    assert result is not None
    found.add(result, IN_FILE)
    assert place(found, 2, Row("a", "x")) == IN_FILE
    assert place(found, 5, Row("a", "x")) == 200


def test_ids_of_different_types_are_different() -> None:
    found = ledger((0, Row(1, "x")))
    assert place(found, 0, Row("1", "x")) is None
    assert place(found, 0, Row("#0", "x")) is None
    assert place(found, 0, Row(None, "x")) is None
    assert place(found, 0, Row(1, "x")) == 0


def test_a_row_whose_content_has_changed_is_kept_and_told() -> None:
    found = ledger((3, Row("a", "x")))
    assert found.take(3, "a", Row("a", "y").digest) == (300, True)
    assert found.take(3, "a", Row("a", "y").digest) is None


def test_a_namesake_is_not_taken_for_a_changed_row() -> None:
    """The second of two rows with one id may have been finished before the first."""
    found = ledger((1, Row("a", "y")))
    assert found.take(0, "a", Row("a", "x").digest) is None
    assert place(found, 1, Row("a", "y")) == 100


def test_what_nobody_asked_for_is_left() -> None:
    found = ledger((3, Row("c", "x")), (0, Row("a", "x")), (2, Row("b", "x")))
    assert place(found, 2, Row("b", "x")) == 200
    assert found.beside() == [0, 300]


def test_only_results_are_results() -> None:
    good = line(Row("a", "x"), 0)
    assert Result.parse(good) is not None
    assert Result.parse(good[:-1]) is None
    assert Result.parse(line(Row("a", "x"), 0, weights=None)) is not None
    for others in (
        {"index": -1},
        {"index": "0"},
        {"index": 1 << 64},
        {"id": 1.5},
        {"id": True},
        {"input_hash": "00"},
        {"input_hash": None},
        {"weights": 1},
    ):
        assert Result.parse(line(Row("a", "x"), 0, **others)) is None
    for text in (b"", b"\n", b"[]\n", b"1\n", b'"x"\n', b"\xff\n", b"{}\n"):
        assert Result.parse(text) is None
