"""Logit biases: read, resolved by a vocabulary, and felt by every way of choosing a token."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ggufs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lokal
from lokal.engine.constraint import Grammar
from lokal.engine.logit_bias import parse_logit_bias
from lokal.engine.request import MAX_BIAS, SamplingParams
from lokal.errors import UsageError
from lokal.model import Model

FORBIDDEN = -math.inf
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 8}
HOT: dict[str, Any] = {"temperature": 5.0, "top_k": 0, "top_p": 1, "min_p": 0, "max_tokens": 8}


@pytest.fixture
def model(llama: Path) -> Iterator[Model]:
    with lokal.load(llama, ctx=64, threads=1) as model:
        yield model


def ids(model: Model, **sampling: Any) -> list[int]:
    answer = model.generate("hello", logprobs=0, seed=1, **sampling)
    return [entry.id for entry in answer.logprobs or ()]


@pytest.mark.parametrize("way", [GREEDY, HOT, {**HOT, "repeat_penalty": 1.1}], ids=str)
def test_a_token_can_be_forced_and_forbidden(model: Model, way: dict[str, Any]) -> None:
    """Forbidden means never, greedy or not."""
    ((wanted, _),) = model.logit_bias([(" once", 0)])
    assert set(ids(model, logit_bias=((wanted, 1e4),), repeat_penalty=1.0, **GREEDY)) == {wanted}
    plain = ids(model, ignore_eos=True, **way)
    banned: tuple[tuple[int, float], ...] = ()
    for _ in range(10):
        banned = (*banned, *((token, FORBIDDEN) for token in set(plain)))
        plain = ids(model, ignore_eos=True, logit_bias=banned, **way)
        assert len(plain) == 8
        assert {token for token, _ in banned}.isdisjoint(plain)


def test_a_small_bias_is_what_it_takes(model: Model) -> None:
    """Exactly: the second likeliest token wins by a little more than its distance."""
    (first,) = model.generate("hello", logprobs=2, temperature=0, max_tokens=1).logprobs or ()
    best, second = first.top
    distance = best.logprob - second.logprob
    for bias, expected in ((distance - 0.01, best.id), (distance + 0.01, second.id)):
        changed = ((second.id, bias),)
        assert ids(model, temperature=0, max_tokens=1, logit_bias=changed) == [expected]


def test_forbidding_the_end_and_ignoring_it_go_together(model: Model) -> None:
    """Whatever is added to the end's logit, ignore_eos keeps it away."""
    end = model._native.vocabulary.eog_tokens()[0]
    for ignored in ({"logit_bias": ((end, FORBIDDEN),)}, {"ignore_eos": True}):
        assert len(ids(model, **GREEDY, **ignored)) == 8
    both = ids(model, **GREEDY, ignore_eos=True, logit_bias=((end, 1e6),))
    assert both == ids(model, **GREEDY, ignore_eos=True)
    assert ids(model, **GREEDY, logit_bias=((end, 1e6),)) == []


@pytest.mark.parametrize("way", [GREEDY, HOT], ids=["greedy", "hot"])
def test_a_grammar_and_a_bias_hold_both(model: Model, way: dict[str, Any]) -> None:
    """What the bias wants is no match, what the grammar wants is not forbidden."""
    form = Grammar("regex", "[ab]{6}")
    (a, _), (b, _), (c, _) = model.logit_bias([("a", 0), ("b", 0), ("c", 0)])
    for favoured in (a, b):
        biases = ((favoured, 100.0), (c, 1e5))
        assert ids(model, grammar=form, logit_bias=biases, **way) == [favoured] * 6
    # A byte token writes an "a" as well, so that there is more than one to forbid.
    no_a = tuple((token, FORBIDDEN) for token in (a, ggufs.BYTE_ID + ord("a")))
    assert model.generate("x", grammar=form, logit_bias=no_a, **way).text == "bbbbbb"


@pytest.mark.parametrize("way", [GREEDY, HOT], ids=["greedy", "hot"])
def test_where_nothing_may_follow_the_answer_fails(model: Model, way: dict[str, Any]) -> None:
    """With a grammar and without; what was written before is kept, and its neighbours go on."""
    (a, _), (b, _), (c, _) = model.logit_bias([("a", 0), ("b", 0), ("c", 0)])
    form = Grammar("regex", "ab(a|b)")
    biases = ((a, FORBIDDEN), (b, FORBIDDEN), (c, 3.0))
    with pytest.raises(UsageError, match="logit_bias forbids every token"):
        model.generate("hello", grammar=form, logit_bias=biases, **way)
    (half,) = model.batch(["x"], grammar=form, logit_bias=((b, FORBIDDEN),), logprobs=0, **way)
    assert isinstance(half.error, UsageError)
    assert half.text == "a"
    assert [entry.id for entry in half.logprobs or ()] == [a]
    everything = tuple((token, FORBIDDEN) for token in range(model._native.vocabulary.n_tokens))
    with pytest.raises(UsageError, match="logit_bias forbids every token"):
        model.generate("hello", logit_bias=everything, **way)
    but_ends = tuple((token, FORBIDDEN) for token, _ in everything if token != ggufs.EOS_ID)
    assert model.generate("hello", logit_bias=but_ends, **way).text == ""
    with pytest.raises(UsageError, match="logit_bias forbids every token"):
        model.generate("hello", logit_bias=but_ends, ignore_eos=True, **way)


def test_a_token_that_the_model_lacks_is_refused(model: Model) -> None:
    """Before anything is computed."""
    n_tokens = model._native.vocabulary.n_tokens
    model.generate("hello", max_tokens=1, logit_bias=((n_tokens - 1, 1.0),))
    with pytest.raises(UsageError, match=f"token {n_tokens}, but the model has {n_tokens} tokens"):
        model.generate("hello", logit_bias=((n_tokens, 1.0),))
    (row,) = model.batch(["hello"], logit_bias=((2**31 - 1, 1.0),))
    assert isinstance(row.error, UsageError)


@pytest.mark.parametrize("kind", ["llama", "bpe", "tiny"])
def test_every_text_token_that_the_tokenizer_makes_has_a_name(
    kind: str, models: Path, request: pytest.FixtureRequest
) -> None:
    """Its number, and its text: with its space in front, and without one where it has none."""
    path = (
        ggufs.write(models / "bias-bpe.gguf", vocab="bpe")
        if kind == "bpe"
        else request.getfixturevalue(kind)
    )
    with lokal.load(path, ctx=64, threads=1) as model:
        vocabulary = model._native.vocabulary
        found = 0
        for word in (" the", "the", " once", "o", ":", "\n", "</s>", "é", " ", "x"):
            try:
                ((token, _),) = model.logit_bias([(word, 1.0)])
            except UsageError:
                continue
            names = vocabulary.piece(token), vocabulary.piece(token, special=True)
            assert word.encode() in names
            assert model.logit_bias([(str(token), 2.0)]) == ((token, 2.0),)
            found += 1
        assert found >= 5


def test_a_text_of_several_tokens_is_told_how_it_is_cut(model: Model) -> None:
    """With their numbers, no space added in front, and not too many of them."""
    (once, _), (upon, _) = model.logit_bias([(" once", 0), (" upon", 0)])
    with pytest.raises(UsageError) as caught:
        model.logit_bias([(" once upon", 1.0)])
    assert caught.value.message == (
        f"' once upon' is not one token of this model, but 2: {once} ' once', {upon} ' upon'"
    )
    with pytest.raises(UsageError, match=r"and 42 more$"):
        model.logit_bias([("z" * 50, 1.0)])
    with pytest.raises(UsageError, match="empty"):
        model.logit_bias([("", 1.0)])
    with pytest.raises(UsageError, match="the model has"):
        model.logit_bias([("99999", 1.0)])
    with pytest.raises(UsageError, match="half a character"):
        model.logit_bias([("\ud800", 1.0)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5:1.5", ("5", 1.5)),
        (" the:-3", (" the", -3.0)),
        ("a:b:1e2", ("a:b", 100.0)),
        (":::0", ("::", 0.0)),
        ("x:-inf", ("x", FORBIDDEN)),
        ("x:false", ("x", FORBIDDEN)),
    ],
)
def test_a_bias_is_written_after_the_last_colon(text: str, expected: tuple[str, float]) -> None:
    """Tokens may hold colons and spaces themselves."""
    assert parse_logit_bias(text) == expected


@pytest.mark.parametrize(
    "text", ["", "x", ":1", "x:", "x:y", "x:inf", "x:nan", "x:1_0", "x: 1", "x:1e7", "x:true"]
)
def test_what_is_no_bias(text: str) -> None:
    """No token, no number, or one that no logit survives."""
    with pytest.raises(UsageError, match="logit bias"):
        parse_logit_bias(text)


@given(st.text(min_size=1), st.floats(-MAX_BIAS, MAX_BIAS) | st.just(FORBIDDEN))
def test_any_token_and_bias_can_be_written(token: str, bias: float) -> None:
    """And come back."""
    assert parse_logit_bias(f"{token}:{bias!r}") == (token, bias)


@given(st.text())
def test_parsing_raises_nothing_but_usage_errors(text: str) -> None:
    """What it takes, `SamplingParams` takes as well."""
    try:
        _, bias = parse_logit_bias(text)
    except UsageError:
        return
    SamplingParams(logit_bias=((0, bias),))


@pytest.mark.parametrize(
    "value",
    [
        [(1, 1.0)],
        {1: 1.0},
        (5,),
        ((1, 1.0, 2),),
        ((1.0, 1.0),),
        ((-1, 1.0),),
        ((2**31, 1.0),),
        ((True, 1.0),),
        ((1, math.nan),),
        ((1, math.inf),),
        ((1, 1e7),),
        ((1, "5"),),
        ((1, 1.0), (1, 2.0)),
    ],
    ids=str,
)
def test_wrong_biases_are_refused(value: Any) -> None:
    """Two for one token as well: nobody can mean that."""
    SamplingParams(logit_bias=((1, 1), (0, FORBIDDEN)))
    with pytest.raises(UsageError, match=r"logit.bias"):
        SamplingParams(logit_bias=value)
