"""Plain text, and how the format is chosen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import complaint, rows, texts

from lokal.errors import UsageError

JSON = '{"prompt": "hi"}'


def test_each_line_is_a_prompt() -> None:
    """As it stands, without its newline; the last may lack one."""
    found = rows("a\r\n  b \n{c}", "rows.txt", system="S")
    assert [texts(row)[1] for row in found] == [("user", "a"), ("user", "  b "), ("user", "{c}")]
    assert [(row.index, row.line, row.id, row.end) for row in found] == [
        (0, 1, None, 3),
        (1, 2, None, 8),
        (2, 3, None, 11),
    ]


def test_a_blank_line_is_a_row_that_fails() -> None:
    """So that line N of the output answers line N of the input."""
    first, blank, spaces, last = rows("a\n\n \t\r\nb\n", "rows.txt")
    assert complaint(blank) == complaint(spaces) == "the prompt is empty"
    assert (texts(first), texts(last)) == ([("user", "a")], [("user", "b")])


def test_a_line_that_is_no_utf_8_fails_alone() -> None:
    """It says where."""
    first, broken, last = rows(b"a\nb\xe9\nc\n", "rows.txt")
    assert complaint(broken) == "not valid UTF-8 (byte 2)"
    assert first.error is last.error is None


def test_a_nul_fails_alone() -> None:
    """Nobody means it."""
    assert complaint(rows("abcde\0\n", "rows.txt")[0]) == "the prompt has a NUL character"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"))))
def test_n_lines_are_n_rows(lines: list[str]) -> None:
    """Whatever stands in them; what does not fail comes out as it went in."""
    found = rows("".join(line + "\n" for line in ["first", *lines]), "rows.txt")
    assert [row.line for row in found] == list(range(1, len(lines) + 2))
    for line, row in zip(["first", *lines], found, strict=True):
        if row.error:
            assert not line.strip() or "\0" in line
        else:
            assert texts(row) == [("user", line.removesuffix("\r"))]


@pytest.mark.parametrize("template", ["<{}>", "<{prompt}>"])
def test_a_template_takes_the_whole_line(template: str) -> None:
    """Under either name."""
    assert [texts(row) for row in rows("a {}\n", "rows.txt", template=template)] == [
        [("user", "<a {}>")]
    ]


def test_a_template_with_other_fields_is_refused_as_a_whole() -> None:
    """Every row would fail."""
    with pytest.raises(UsageError, match="plain text has no field 'text'"):
        rows("a\n", "rows.txt", template="{text}")


@pytest.mark.parametrize("name", ["x.jsonl", "X.NDJSON", "x.json", "x.txt.json"])
def test_names_of_json_lines(name: str) -> None:
    """Capitals do not matter."""
    assert complaint(rows("hi", name)[0]).startswith("broken JSON")


@pytest.mark.parametrize("name", ["x.txt", "x.TEXT", ".json.txt"])
def test_names_of_plain_text(name: str) -> None:
    """Even where the line looks like JSON."""
    assert texts(rows(JSON, name)[0]) == [("user", JSON)]


@pytest.mark.parametrize("name", ["-", "rows", "rows.dat", "/x.csv/rows", ".json"])
@pytest.mark.parametrize("before", ["", "\n\n", "\ufeff", " \n \t"])
def test_without_such_a_name_the_first_line_decides(name: str, before: str) -> None:
    """Blank lines before it do not; as text, they are rows."""
    [only] = rows(before + JSON, name)
    assert texts(only) == [("user", "hi")]
    found = rows(before + "hi\n{", name)
    assert len(found) == 2 + before.count("\n")
    assert texts(found[-1]) == [("user", "{")]


@pytest.mark.parametrize("line", ["[INST] hi [/INST]", "[1] Smith", "[]x", "- hi", "0"])
def test_prompts_that_only_begin_like_json(line: str) -> None:
    """A bracket alone makes no array."""
    assert texts(rows(line, "-")[0]) == [("user", line)]


def test_many_blank_lines_are_text() -> None:
    """They are not held for ever to see what comes."""
    assert len(rows("\n" * 3000 + JSON, "-")) == 3001


def test_the_user_s_word_goes_before_the_name() -> None:
    """A format that is asked for is the format."""
    assert texts(rows(JSON, "x.jsonl", format="text")[0]) == [("user", JSON)]
    assert texts(rows(JSON, "x.txt", format="jsonl")[0]) == [("user", "hi")]
    assert texts(rows("prompt\nhi\n", "x.txt", format="csv")[0]) == [("user", "hi")]


def test_an_unknown_format_is_refused() -> None:
    """With those there are."""
    with pytest.raises(UsageError, match="'xml'") as error:
        rows("", format="xml")
    assert "openai" in error.value.hint


@pytest.mark.parametrize("form", ["auto", "jsonl", "text", "csv", "openai"])
@pytest.mark.parametrize("name", ["-", "x.txt", "x.jsonl", "x.csv"])
@pytest.mark.parametrize("data", ["", "\ufeff"])
def test_nothing_in_nothing_out(form: str, name: str, data: str) -> None:
    """An empty input is no error here."""
    assert rows(data, name, format=form) == []


@pytest.mark.parametrize(
    ("start", "what"),
    [
        ("a\n".encode("utf-16"), "UTF-16"),
        (b"\xfe\xff" + "a\n".encode("utf-16-be"), "UTF-16"),
        (JSON.encode("utf-16-le"), "is not UTF-8 text"),
        (JSON.encode("utf-32-be"), "is not UTF-8 text"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "compressed with gzip"),
        (b"\x28\xb5\x2f\xfd\x04\0", "compressed with zstd"),
        (b"\xfd7zXZ\0\0", "compressed with xz"),
        (b"PK\x03\x04\x14\0", "a zip archive or a spreadsheet"),
    ],
)
@pytest.mark.parametrize("name", ["-", "x.txt", "x.jsonl", "x.csv"])
def test_other_encodings_are_refused_as_a_whole(start: bytes, what: str, name: str) -> None:
    """One error with a way out, not one for each line."""
    with pytest.raises(UsageError, match=what):
        rows(start, name)
