"""OpenAI's batch format: what is read, ignored, or refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from reading import complaint, refusal, row, rows, texts

from lokal.batch.rows import Row
from lokal.engine.constraint import Grammar


def request(**body: Any) -> dict[str, Any]:
    """A row as OpenAI's documentation shows it."""
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello!"}]
    return {
        "custom_id": "request-1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt-4o-mini", "messages": messages, **body},
    }


def answered(**body: Any) -> Row:
    only = row(request(**body))
    assert only.error is None
    return only


@pytest.mark.parametrize("form", ["auto", "jsonl", "openai"])
def test_a_row_as_documented(form: str) -> None:
    """Among JSON lines it is known by its keys."""
    only = row(request(max_tokens=1000), format=form, system="not for this row")
    assert texts(only) == [("system", "Be kind."), ("user", "Hello!")]
    assert only.id == "request-1"
    assert only.overrides == {"max_tokens": 1000}


def test_both_kinds_in_one_file() -> None:
    """Each row is read as what it is; keys outside the body mean nothing to OpenAI's."""
    import json

    mixed = [{"prompt": "hi", "body": "x", "custom_id": 1}, {**request(), "temperature": 9000}]
    plain, openai = rows("\n".join(map(json.dumps, mixed)))
    assert texts(plain) == [("user", "hi")]
    assert plain.id is None
    assert (openai.id, openai.overrides) == ("request-1", {})


def test_sampling_of_the_body() -> None:
    """Under our names."""
    only = answered(
        max_completion_tokens=9, temperature=0.5, top_p=1, top_k=3, min_p=0, seed=4, stop=["a"]
    )
    assert only.seed == 4
    assert only.overrides == {
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 1,
        "top_k": 3,
        "min_p": 0,
        "stop": ("a",),
    }


def test_what_has_no_bearing_is_ignored() -> None:
    """And what only says the default."""
    defaults = {"n": 1, "stream": False, "tools": [], "tool_choice": "auto", "logprobs": False}
    more = {"presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}, "top_logprobs": None}
    harmless = {"user": "u", "metadata": {"a": "b"}, "store": True, "service_tier": "flex"}
    assert answered(**defaults, **more, **harmless).digest == answered().digest


@pytest.mark.parametrize(
    "key",
    [
        {"n": 2},
        {"stream": True},
        {"tools": [{"type": "function"}]},
        {"tool_choice": "required"},
        {"functions": [{}]},
        {"logprobs": True},
        {"top_logprobs": 5},
        {"presence_penalty": 0.1},
        {"frequency_penalty": -1},
        {"logit_bias": {"50256": -100}},
        {"modalities": ["text", "audio"]},
        {"audio": {}},
        {"reasoning_effort": "high"},
        {"repetition_penalty": 1.1},
        {"web_search_options": {}},
    ],
    ids=lambda value: next(iter(value)),
)
def test_what_we_cannot_do_is_named(key: dict[str, Any]) -> None:
    """Never answered as if it had not been asked; the id stays."""
    only = row(request(**key))
    assert complaint(only) == f"the body asks for {next(iter(key))!r}, which is not supported"
    assert only.id == "request-1"


@pytest.mark.parametrize(
    ("response_format", "grammar"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, Grammar("json", "")),
        (
            {"type": "json_schema", "json_schema": {"name": "x", "schema": {"b": 1, "a": 2}}},
            Grammar("schema", '{"b":1,"a":2}'),
        ),
    ],
)
def test_response_formats(response_format: dict[str, Any], grammar: Grammar | None) -> None:
    """Three of them."""
    assert answered(response_format=response_format).grammar == grammar


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"messages": []}, "messages is no list, or empty"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        (
            {"max_tokens": 1, "max_completion_tokens": 2},
            "max_tokens and max_completion_tokens differ",
        ),
        ({"seed": 2**63 - 1}, f"seed is {2**63 - 1}"),
        ({"response_format": "json"}, "response_format is of type None"),
        ({"response_format": {"type": "xml"}}, "response_format is of type 'xml'"),
        ({"response_format": {"type": "json_schema"}}, "schema is no JSON object"),
    ],
    ids=str,
)
def test_a_body_that_asks_for_the_impossible(body: dict[str, Any], message: str) -> None:
    """As in any other row."""
    assert refusal(request(**body)) == message


@pytest.mark.parametrize(
    ("outside", "message"),
    [
        ({"method": "GET"}, "the method is 'GET'"),
        ({"url": "/v1/embeddings"}, "the url is '/v1/embeddings'"),
        ({"url": 5}, "the url is 5"),
        ({"custom_id": ["x"]}, "the id is neither a text nor a whole number"),
    ],
    ids=str,
)
def test_what_goes_elsewhere_is_refused(outside: dict[str, Any], message: str) -> None:
    """Only chat completions are answered."""
    assert refusal({**request(), **outside}) == message


def test_the_method_and_the_url_may_be_missing() -> None:
    """They say nothing new."""
    bare = {key: value for key, value in request().items() if key not in ("method", "url")}
    assert row(bare).error is None


def test_other_rows_are_errors_where_openai_s_are_asked_for() -> None:
    """The user said what all of them are."""
    assert refusal({"id": 1, "prompt": "hi"}, format="openai") == "no body"


def test_a_template_takes_the_place_of_the_messages() -> None:
    """Its fields are those of the whole row."""
    only = row(request(max_tokens=3), template="{custom_id}: {body.model}", system="S")
    assert texts(only) == [("system", "S"), ("user", "request-1: gpt-4o-mini")]
    assert only.overrides == {"max_tokens": 3}


def test_a_row_that_asks_for_something_else_keeps_its_id() -> None:
    """It is known by `custom_id` and `body`, and its message says what is wrong with it."""
    import json

    row = {"custom_id": "e", "url": "/v1/embeddings", "body": {"model": "m", "input": "x"}}
    (wrong,) = rows(json.dumps(row))
    assert wrong.id == "e"
    assert "/v1/embeddings" in complaint(wrong)
