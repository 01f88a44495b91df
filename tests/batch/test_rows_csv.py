"""Tables: quoting, headers, and rows that do not fit them."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import complaint, rows, texts

from lokal.batch import table
from lokal.batch.rows import Row
from lokal.errors import UsageError

cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def read(data: bytes | str, name: str = "rows.csv", **options: Any) -> list[Row]:
    return rows(data, name, **options)


def prompts(found: list[Row]) -> list[str]:
    return [texts(row)[-1][1] for row in found]


def test_a_column_named_prompt_needs_no_template() -> None:
    """id and system mean what they mean in JSON; an empty one is none."""
    data = "id,prompt,system,temperature\r\n7,hi,Be kind.,hot\r\n,ho,,\r\n"
    first, second = read(data, system="S")
    assert (first.id, texts(first)) == ("7", [("system", "Be kind."), ("user", "hi")])
    assert (second.id, texts(second)) == (None, [("system", "S"), ("user", "ho")])
    assert first.overrides == {}


def test_a_template_takes_columns() -> None:
    """All of them are texts; their names may have spaces and dots."""
    data = "First name, a.b ,id\nAnn,1,x\n"
    [only] = read(data, template="{First name}: {a.b} {{{id}}}")
    assert prompts([only]) == ["Ann: 1 {x}"]
    assert only.id == "x"


def test_quotes_as_in_rfc_4180() -> None:
    """Commas, quotes and newlines stand in quoted fields."""
    found = read('prompt,id\r\n"a,""b""\r\nc\n",1\r\n d ,2\r\n"",3\r\n')
    assert prompts(found[:2]) == ['a,"b"\r\nc\n', " d "]
    assert complaint(found[2]) == "the prompt is empty"
    assert [(row.index, row.line, row.id) for row in found] == [
        (0, 2, "1"),
        (1, 5, "2"),
        (2, 6, "3"),
    ]
    assert [row.end for row in found] == [28, 35, 41]


def test_tabs_in_a_file_of_that_name() -> None:
    """And nowhere else."""
    assert prompts(read("id\tprompt\n1\ta,b\n", "x.TSV")) == ["a,b"]
    assert prompts(read("id\tprompt\n1\ta,b\n", "x.tsv", format="csv")) == ["a,b"]
    assert prompts(read("a\tb,prompt\n1,c\td\n", "-", format="csv")) == ["c\td"]


def test_a_mark_in_front_is_no_part_of_the_first_name() -> None:
    """As spreadsheets write it."""
    assert prompts(read("\ufeffprompt,x\nhi,\n")) == ["hi"]


def test_empty_lines_are_no_rows() -> None:
    """Not before the header either; lines are counted all the same."""
    [first, second] = read("\n\nprompt\n\nhi\n\r\nho\n")
    assert [(row.index, row.line) for row in (first, second)] == [(0, 5), (1, 7)]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"a,b", "2 fields, but 3 in the header"),
        (b"a,b,c,d", "4 fields, but 3 in the header"),
        (b'a,"b"c,d', "broken CSV: ',' expected after '\"'"),
        (b"a,b\rc,d", "broken CSV: new-line character seen in unquoted field"),
        (b"a,b\xe9,c", "not valid UTF-8 (byte 4 of line 3)"),
        (b'a,"\n\xe9",c', "not valid UTF-8 (byte 1 of line 4)"),
    ],
)
def test_a_broken_record_fails_alone(record: bytes, message: str) -> None:
    """The next line begins a new one."""
    first, broken, last = read(b"id,prompt,x\n1,hi,\n" + record + b"\n2,ho,\n")
    assert complaint(broken).startswith(message)
    assert broken.line == 3
    assert prompts([first, last]) == ["hi", "ho"]
    assert last.index == 2


def test_what_fails_keeps_an_id_that_can_be_read() -> None:
    """One that is damaged is none."""
    found = read(b"id,prompt\n1,hi,x\n2\n3\xe9,hi\n4,\xe9\n")
    assert all(complaint(row) for row in found)
    assert [row.id for row in found] == ["1", "2", None, "4"]


def test_a_quote_that_never_ends_is_an_error_row() -> None:
    """It takes the rest with it, for nobody can say where it should have ended."""
    first, rest = read('prompt\nhi\n"ho\nx\ny\n')
    assert prompts([first]) == ["hi"]
    assert complaint(rest).startswith("broken CSV: a quote that opens here is never closed")
    assert (rest.line, rest.end) == (3, 18)


def test_a_record_without_end_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a bound it fails, and the next line begins a new one."""
    monkeypatch.setattr(table, "MAX_RECORD", 2**20)
    lines = (b"x" * 1000 + b"\n") * 1048
    first, last = read(b'prompt\n"' + lines + b"last\n")
    assert complaint(first) == "more than 1 MiB"
    assert prompts([last]) == ["last"]


def test_digests_of_broken_records() -> None:
    """The same bytes, the same digest; other bytes, another."""
    first, same, other = read('prompt\n"a\nb"x\n"a\nb"x\n"a\nc"x\n')
    assert first.digest == same.digest != other.digest


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ("id,text\n", {}, "has no column 'prompt'; its columns are: id, text"),
        ("id;prompt\n", {}, "has no column 'prompt'; its columns are: 'id;prompt'"),
        ("id,text\n", {"template": "{txt}"}, "has no column 'txt'; its columns are: id, text"),
        ("a,prompt,a\n", {}, "has two columns of one name: a, prompt"),
        ('"prompt\n', {}, "the header of rows.csv: broken CSV"),
        (b"prompt,\xe9\n", {}, "the header of rows.csv: not valid UTF-8"),
    ],
)
def test_a_header_that_fits_no_row_is_refused(
    data: bytes | str, options: dict[str, Any], message: str
) -> None:
    """Once, not for every row."""
    with pytest.raises(UsageError) as error:
        read(data, **options)
    assert message in error.value.message


def test_a_header_alone_has_no_rows() -> None:
    """That is no error here."""
    assert read("prompt\n") == []


@given(st.lists(st.tuples(cells, cells)), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_what_python_writes_comes_back(table: list[tuple[str, str]], quoting: int) -> None:
    """Whatever stands in the cells."""
    out = io.StringIO(newline="")
    csv.writer(out, quoting=quoting).writerows([("a", "b"), *table])
    found = read(out.getvalue(), template="{a}|{b}.")
    assert prompts(found) == [f"{a}|{b}." for a, b in table]


@given(st.binary())
def test_any_bytes_are_rows_or_one_refusal(data: bytes) -> None:
    """Nothing else is raised."""
    try:
        found = read(b"prompt\n" + data)
    except UsageError:
        return
    assert [row.index for row in found] == list(range(len(found)))
    assert not found or found[-1].end <= 7 + len(data)
