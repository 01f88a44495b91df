"""Templates: what a row puts into them stays what it was."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import refusal, row, texts

from lokal.batch.rows import ReadOptions, read
from lokal.batch.template import Template
from lokal.errors import UsageError

literals = st.text(st.sampled_from("ab {}.\n"))
names = st.text(st.sampled_from("abc"), min_size=1)


def filled(template: str, /, **fields: Any) -> str:
    return Template(template).fill(fields)


def test_a_field_takes_its_place() -> None:
    """A JSON row needs no prompt of its own then."""
    only = row({"id": 1, "text": "rain"}, template="Classify: {text}", system="S")
    assert texts(only) == [("system", "S"), ("user", "Classify: rain")]


def test_it_stands_in_for_prompt_and_messages() -> None:
    """Whatever the row has of them is a field like any other; the rest of the row holds."""
    only = row(
        {"prompt": "hi", "messages": [1], "system": "own", "top_k": 5}, template="{}{messages}"
    )
    assert texts(only) == [("system", "own"), ("user", "hi[1]")]
    assert only.overrides == {"top_k": 5}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{a}{a}", "xx"),
        ("{{a}} {a}", "{a} x"),
        ("{{{a}}}", "{x}"),
        ('{{"k": "{a}"}}', '{"k": "x"}'),
        ("{o.p}", "deep"),
        ("{o.q.r}", "deeper"),
        ("{o}", '{"p": "deep", "q": {"r": "deeper"}}'),
        ("{d.e}", "dotted"),
        ("{a b}", "spaced"),
        ("{n}", "1.5"),
        ("{t}", "true"),
        ("{z}", "null"),
        ("{l}", '["é", 1]'),
        ("{}", "the prompt"),
    ],
)
def test_what_fields_become(template: str, text: str) -> None:
    """Texts as they are, all else as JSON; a name with a dot goes before the path."""
    fields = {
        "a": "x",
        "o": {"p": "deep", "q": {"r": "deeper"}},
        "d": {"e": "path"},
        "d.e": "dotted",
        "a b": "spaced",
        "n": 1.5,
        "t": True,
        "z": None,
        "l": ["é", 1],
        "prompt": "the prompt",
    }
    assert filled(template, **fields) == text


@pytest.mark.parametrize("name", ["b", "a.b", "o.x", "o.p.q", "A", " a"])
def test_a_missing_field_is_an_error_row(name: str) -> None:
    """It names the field and those there are."""
    value = {"id": 1, "a": "x", "o": {"p": "y"}}
    only = row(value, template=f"{{{name}}}")
    assert refusal(value, template=f"{{{name}}}") == f"no field {name!r} for the template"
    assert only.error is not None
    assert only.error.hint == "the fields are: id, a, o"
    assert only.id == 1


def test_a_template_that_comes_out_empty_is_an_error_row() -> None:
    """As an empty prompt is."""
    assert refusal({"a": ""}, template="{a}") == "the prompt is empty"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{", "single { (character 1)"),
        ("a {b", "single { (character 3)"),
        ("{a}}", "single } (character 4)"),
        ("{{a}", "single } (character 4)"),
        ("{a{b}}", "single { (character 1)"),
        ("{a.}", "the field {a.}, whose name is incomplete"),
        ("{.}", "the field {.}, whose name is incomplete"),
        ("", "names no field"),
        ("hello", "names no field"),
        ("{{a}}", "names no field"),
    ],
)
def test_a_template_that_cannot_be_is_refused_at_once(template: str, message: str) -> None:
    """Before a byte of the input is read."""
    with pytest.raises(UsageError) as error:
        read(None, "-", ReadOptions(template=template))  # type: ignore[arg-type]
    assert message in error.value.message


@given(st.lists(st.tuples(literals, names)), literals, st.dictionaries(names, st.text()))
def test_no_value_can_inject(
    pieces: list[tuple[str, str]], tail: str, fields: dict[str, str]
) -> None:
    """The result is the literal text and the values, each once, in order."""
    pieces = [(literal, name) for literal, name in pieces if name in fields]
    if not pieces:
        return

    def escape(text: str) -> str:
        return text.replace("{", "{{").replace("}", "}}")

    template = "".join(f"{escape(text)}{{{name}}}" for text, name in pieces) + escape(tail)
    expected = "".join(text + fields[name] for text, name in pieces) + tail
    assert Template(template).fill(fields) == expected
