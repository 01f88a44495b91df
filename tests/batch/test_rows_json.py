"""JSON lines: what a row may say, and what becomes an error row."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import complaint, refusal, row, rows, texts

from lokal.engine.constraint import Grammar
from lokal.errors import LokalError

USER = {"role": "user", "content": "hi"}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def test_a_prompt_is_what_the_user_says() -> None:
    """Its id comes along; the rest of the row is nobody's business."""
    only = row({"prompt": "hi", "id": "a", "label": [1, {"x": None}]})
    assert texts(only) == [("user", "hi")]
    assert (only.index, only.line, only.id, only.overrides, only.seed) == (0, 1, "a", {}, None)


def test_messages_are_a_conversation() -> None:
    """What a chat template may want to know of a message stays with it."""
    only = row(
        {"messages": [USER, {"role": "assistant", "content": "yes", "thinking": "hm"}, USER]}
    )
    assert texts(only) == [("user", "hi"), ("assistant", "yes"), ("user", "hi")]
    assert only.messages[1]["thinking"] == "hm"


def test_text_parts_are_joined() -> None:
    """As the content of OpenAI's messages may come."""
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert texts(row({"messages": [{"role": "user", "content": parts}]})) == [("user", "a\nb")]


def test_overrides_are_kept_apart() -> None:
    """Only what the row sets; null sets nothing."""
    sampling = {"max_tokens": 5, "temperature": 0, "top_p": 0.5, "top_k": 3, "min_p": 0.1}
    only = row({"prompt": "hi", **sampling, "ignore_eos": True, "stop": "x", "seed": 7})
    assert only.overrides == {**sampling, "ignore_eos": True, "stop": ("x",)}
    assert only.seed == 7
    nulls = dict.fromkeys([*sampling, "ignore_eos", "stop", "seed", "schema", "system", "id"])
    only = row({"prompt": "hi", **nulls, "messages": None})
    assert (only.overrides, only.seed, only.grammar, only.id) == ({}, None, None, None)


def test_several_stop_texts() -> None:
    """A list, in its order."""
    assert row({"prompt": "hi", "stop": ["b", "a"]}).overrides == {"stop": ("b", "a")}


def test_a_schema_keeps_the_order_of_its_properties() -> None:
    """The answer is written in that order."""
    schema = {"type": "object", "properties": {"b": {}, "a": {}}}
    text = '{"type":"object","properties":{"b":{},"a":{}}}'
    assert row({"prompt": "hi", "schema": schema}).grammar == Grammar("schema", text)


@pytest.mark.parametrize(
    ("given_row", "expected"),
    [
        ({"prompt": "hi"}, ["S", "hi"]),
        ({"prompt": "hi", "system": "own"}, ["own", "hi"]),
        ({"prompt": "hi", "system": ""}, ["hi"]),
        ({"prompt": "hi", "system": None}, ["S", "hi"]),
        ({"messages": [USER]}, ["S", "hi"]),
        ({"messages": [USER], "system": "own"}, ["own", "hi"]),
        ({"messages": [{"role": "system", "content": "own"}, USER]}, ["own", "hi"]),
        ({"messages": [{"role": "developer", "content": "own"}, USER]}, ["own", "hi"]),
        ({"messages": [{"role": "system", "content": "own"}, USER], "system": ""}, ["own", "hi"]),
    ],
)
def test_the_row_s_own_system_text_goes_first(
    given_row: dict[str, Any], expected: list[str]
) -> None:
    """Before the one for all rows, never together with it."""
    only = row(given_row, system="S")
    assert [content for _, content in texts(only)] == expected
    assert [role for role, _ in texts(only)][:-1] == ["system"] * (len(expected) - 1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "no prompt; the fields are: none"),
        ({"text": "hi", "a b": 1}, "no prompt; the fields are: text, 'a b'"),
        ({"prompt": "hi", "messages": [USER]}, "both prompt and messages"),
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": " \n\t"}, "the prompt is empty"),
        ({"prompt": 5}, "prompt is no text"),
        ({"prompt": ["hi"]}, "prompt is no text"),
        ({"prompt": "a\0b"}, "the prompt has a NUL character"),
        ({"messages": []}, "messages is no list, or empty"),
        ({"messages": "hi"}, "messages is no list, or empty"),
        ({"messages": {"role": "user"}}, "messages is no list, or empty"),
        ({"messages": ["hi"]}, "message 1 is no object"),
        ({"messages": [USER, {"content": "x"}]}, "message 2 has no role"),
        ({"messages": [{"role": "usr", "content": "x"}]}, "message 1 has the role 'usr'"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "message 1 has the role ['user']"),
        ({"messages": [{"role": "user"}]}, "message 1 has no content"),
        ({"messages": [{**USER, "content": None}]}, "message 1 has no content"),
        (
            {"messages": [{**USER, "content": [{"type": "image_url"}]}]},
            "the content of message 1 has a part of type 'image_url'",
        ),
        (
            {"messages": [{**USER, "content": ["x"]}]},
            "the content of message 1 has a part of type None",
        ),
        ({"messages": [{**USER, "content": []}]}, "the prompt is empty"),
        ({"messages": [{"role": "system", "content": "x"}]}, "the prompt is empty"),
        ({"prompt": "hi", "system": 5}, "system is no text"),
        (
            {"messages": [{"role": "system", "content": "x"}, USER], "system": "y"},
            "both system and a system message",
        ),
        ({"prompt": "hi", "temperature": "hot"}, "temperature is 'hot'"),
        ({"prompt": "hi", "temperature": -1}, "temperature is -1"),
        ({"prompt": "hi", "top_p": 1.5}, "top_p is 1.5"),
        ({"prompt": "hi", "min_p": True}, "min_p is True"),
        ({"prompt": "hi", "top_k": 1.5}, "top_k is 1.5"),
        ({"prompt": "hi", "max_tokens": 0}, "max_tokens is 0"),
        ({"prompt": "hi", "seed": -1}, "seed is -1"),
        ({"prompt": "hi", "seed": 2**32}, "seed is 4294967296"),
        ({"prompt": "hi", "seed": False}, "seed is False"),
        ({"prompt": "hi", "ignore_eos": "yes"}, "ignore_eos is neither true nor false"),
        ({"prompt": "hi", "stop": ""}, "stop is no text"),
        ({"prompt": "hi", "stop": ["a", 1]}, "stop is no text"),
        ({"prompt": "hi", "stop": {"a": 1}}, "stop is no text"),
        ({"prompt": "hi", "schema": "{}"}, "schema is no JSON object"),
        ({"prompt": "hi", "schema": True}, "schema is no JSON object"),
    ],
    ids=str,
)
def test_a_row_that_asks_for_the_impossible(wrong: dict[str, Any], message: str) -> None:
    """It says what, and keeps its id."""
    only = row({"id": 17, **wrong}) if wrong else row(wrong)
    assert complaint(only) == message.replace("are: text", "are: id, text")
    assert only.id == (17 if wrong else None)


@pytest.mark.parametrize("wrong", [1.5, True, ["a"], {}])
def test_an_id_is_a_text_or_a_whole_number(wrong: object) -> None:
    """Anything else could not be found again."""
    only = row({"id": wrong, "prompt": "hi"})
    assert complaint(only) == "the id is neither a text nor a whole number"
    assert only.id is None


@pytest.mark.parametrize("good", ["", "a", "ä🙂", 0, -1, 2**64])
def test_ids_come_out_as_they_went_in(good: str | int) -> None:
    """Texts as texts, numbers as numbers."""
    assert row({"id": good, "prompt": "hi"}).id == good


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"prompt": "hi"', "broken JSON: Expecting ',' delimiter at column 16"),
        (b'{"prompt": "hi', "broken JSON: Unterminated string starting at column 12"),
        (b'{"prompt": "hi"} {"prompt": "hi"}', "broken JSON: Extra data at column 18"),
        (b'{"prompt": "\t"}', "broken JSON: Invalid control character at column 13"),
        (b"prompt: hi", "broken JSON: Expecting value at column 1"),
        (b"[1]", "not a JSON object"),
        (b'"hi"', "not a JSON object"),
        (b"null", "not a JSON object"),
    ],
)
def test_lines_that_cannot_be_read(line: bytes, message: str) -> None:
    """They say where they break, and the rows after them go on."""
    good = b'{"prompt": "hi"}'
    first, broken, last = rows(b"\n".join([good, line, good]))
    assert complaint(broken) == message
    assert (broken.index, broken.line, broken.id) == (1, 2, None)
    assert texts(first) == texts(last) == [("user", "hi")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": 1, "prompt": "hi", "prompt": "ho"}', "the key 'prompt' stands there twice"),
        (b'{"id": 1, "prompt": "hi", "x": {"a": 1, "a": 1}}', "the key 'a' stands there twice"),
        (b'{"id": 1, "prompt": "hi", "temperature": NaN}', "NaN is no finite number"),
        (b'{"id": 1, "prompt": "hi", "x": [-Infinity]}', "-Infinity is no finite number"),
        (b'{"id": 1, "prompt": "hi", "x": 1e999}', "1e999 is no finite number"),
        (b'{"id": 1, "prompt": "hi", "seed": 1' + b"0" * 5000 + b"}", "a number with 5001 digits"),
        (b'{"id": 1, "prompt": "hi", "top_p": 1' + b"0" * 305 + b"}", "a number with 306 digits"),
        (b'{"id": 1, "prompt": "\\ud800"}', r"half of a surrogate pair (\ud800 to \udfff)"),
        (b'{"id": 1, "prompt": "x", "\\uDC00": 1}', r"half of a surrogate pair (\ud800 to \udfff)"),
        (b'{"id": 1, "prompt": "h\xe9"}', "not valid UTF-8 (byte 23)"),
        (b'{"id": 1, "prompt": "\xed\xa0\x80"}', "not valid UTF-8 (byte 22)"),
    ],
    ids=lambda value: value[:50],
)
def test_lines_that_do_not_mean_what_they_say(line: bytes, message: str) -> None:
    """Their id can still be read."""
    [only] = rows(line)
    assert complaint(only) == message
    assert only.id == 1


@pytest.mark.parametrize(
    "line",
    [
        b'{"id": 1, "id": 2, "prompt": "hi"}',
        b'{"id": "\\ud800", "prompt": "hi"}',
        b'{"id": ' + b"1" * 301 + b', "prompt": "hi"}',
        b'{"id": NaN, "prompt": "hi"}',
    ],
    ids=lambda line: line[:20],
)
def test_an_id_that_means_nothing_is_none(line: bytes) -> None:
    """Two of them, or one that cannot be read or written."""
    [only] = rows(line)
    assert complaint(only)
    assert only.id is None


def test_escaped_pairs_of_surrogates_are_fine() -> None:
    r"""They are one character, and \\ud is a backslash with two letters."""
    [only] = rows(rb'{"prompt": "\ud83d\ude42 C:\\udp"}')
    assert texts(only) == [("user", "🙂 C:\\udp")]


@pytest.mark.parametrize("depth", [201, 5000, 200_000])
def test_deep_nesting_is_an_error_row(depth: int) -> None:
    """Not the end of Python's stack."""
    deep = b"[" * (depth - 1) + b"]" * (depth - 1)
    assert "nested more than 200" in refusal(b'{"prompt": "hi", "x": ' + deep + b"}")


def test_breadth_is_no_depth() -> None:
    """A row may hold as much as it likes side by side."""
    assert row({"prompt": "hi", "x": [[]] * 5000}).error is None
    deep = b'{"prompt": "hi", "x": ' + b"[" * 199 + b"]" * 199 + b"}"
    assert rows(deep)[0].error is None


def test_an_error_stays_short() -> None:
    """However much of the row it quotes."""
    assert len(refusal({"prompt": "hi", "temperature": "x" * 10**6})) < 400
    for number in (1, 1000):
        only = row({str(n) * 10**4: 1 for n in range(number)})
        assert only.error
        assert len(only.error.message + only.error.hint) < 900


def test_a_key_among_very_many_is_found_twice() -> None:
    """In no more time than they take to read."""
    keys = b"".join(b'"k%d": 1, ' % number for number in range(100_000))
    assert refusal(b'{"a": 1, ' + keys + b'"a": 2}') == "the key 'a' stands there twice"


def test_blank_lines_are_no_rows() -> None:
    """They count as lines, so that an editor finds the row."""
    found = rows(b'\n \r\n{"prompt": "a"}\r\n\n{"prompt": "b"}\n\n')
    assert [(r.index, r.line, r.end) for r in found] == [(0, 3, 21), (1, 5, 38)]
    assert all(r.error is None for r in found)


@pytest.mark.parametrize("name", ["rows.json", "-"])
@pytest.mark.parametrize("data", ["[", '[{"prompt": "hi"}]', '["hi",\n"ho"]', "\n[\n{}]"])
def test_an_array_is_refused_as_a_whole(data: str, name: str) -> None:
    """One error with a way out, not a row of nonsense for each line."""
    with pytest.raises(LokalError, match="is one JSON array") as error:
        rows(data, name)
    assert "jq -c '.[]'" in error.value.hint


@pytest.mark.parametrize("name", ["rows.json", "-"])
def test_indented_json_is_refused_as_a_whole(name: str) -> None:
    """As `jq .` prints it."""
    with pytest.raises(LokalError, match="spread over lines"):
        rows(json.dumps({"prompt": "hi"}, indent=2), name)


class TestDigest:
    """What tells on resuming whether a row is still the same one."""

    def test_spelling_and_place_do_not_matter(self) -> None:
        found = rows(
            b'{"prompt": "\\u00e9", "top_p": 0.5, "seed": 1, "id": 1, "note": "x"}\n'
            b'{ "seed":1,"top_p":5e-1,"messages":[{"content":"\xc3\xa9","role":"user"}]}'
        )
        assert found[0].digest == found[1].digest

    @pytest.mark.parametrize(
        "change",
        [
            {"prompt": "ho"},
            {"system": "x"},
            {"seed": 0},
            {"top_k": 1},
            {"stop": "x"},
            {"ignore_eos": False},
            {"schema": {"type": "object"}},
        ],
        ids=str,
    )
    def test_content_matters(self, change: dict[str, Any]) -> None:
        assert row({"prompt": "hi", **change}).digest != row({"prompt": "hi"}).digest

    def test_a_broken_row_is_its_bytes(self) -> None:
        first, same, other = rows(b'{"x\n{"x\n{"y\n')
        assert first.digest == same.digest != other.digest


@given(st.dictionaries(st.text(), json_values, max_size=5), st.randoms())
def test_every_object_is_a_good_row_or_an_honest_one(value: dict[str, Any], random: Any) -> None:
    """Nothing is raised, and the order of the keys changes neither content nor digest."""
    value["prompt"] = "hi"
    keys = list(value)
    random.shuffle(keys)
    shuffled = {key: value[key] for key in keys}
    first, second = rows("\n".join(json.dumps(v) for v in (value, shuffled)))
    assert (first.error is None) == (second.error is None)
    if first.error is None:
        assert first._replace(index=1, line=2, end=second.end) == second


@given(st.lists(st.binary(max_size=40).map(lambda data: b"{" + data.replace(b"\n", b""))))
def test_any_line_is_one_row(lines: list[bytes]) -> None:
    """Whatever stands in it, after the first."""
    found = rows(b"\n".join([b"{}", *lines]))
    assert [r.index for r in found] == list(range(len(lines) + 1))
    for broken in found:
        assert complaint(broken)
