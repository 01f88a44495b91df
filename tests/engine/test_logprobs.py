"""Log probabilities: the model's own, whatever is laid over them before a token is chosen."""

from __future__ import annotations

import ctypes
import json
import math
from pathlib import Path
from typing import Any

import ggufs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lokal
from lokal.completion import Completion, completion
from lokal.conversation import conversation
from lokal.engine.constraint import Grammar
from lokal.engine.logprobs import likely, token_logprob
from lokal.engine.request import FinishReason, SamplingParams
from lokal.engine.sequence import Sequence
from lokal.errors import IncompleteError, UsageError
from lokal.model import Model
from lokal.result import Origin, as_dict

Array = np.ndarray[Any, np.dtype[Any]]
Rows = list[tuple[int, Array]]
HOT: dict[str, Any] = {"seed": 3, "temperature": 2.0, "top_k": 0, "max_tokens": 12}


def recorded(model: Model) -> Rows:
    """Every token that will be chosen, and the row that llama.cpp computed for it."""
    context, rows = model._context, Rows()
    following, n_tokens = context._samplers._next, model._native.vocabulary.n_tokens

    def record(place: tuple[Sequence, int]) -> int:
        row = context._lib.llama_get_logits_ith(context._native, place[1])
        logits = np.array(row[:n_tokens], np.float64)
        token = following(place)
        rows.append((token, logits))
        return token

    context._samplers._next = record  # type: ignore[method-assign]
    return rows


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["llama", "tiny"])
@pytest.mark.parametrize(
    "laid_over",
    [
        {},
        {"temperature": 0},
        {"logit_bias": ((300, 12.0), (301, -math.inf)), "repeat_penalty": 1.5},
        {"grammar": Grammar("regex", "[a-z ]{8,9}"), "max_tokens": 40},
        {"ignore_eos": True, "stop": ("e",)},
    ],
    ids=["hot", "greedy", "bias", "grammar", "stop"],
)
def test_they_are_a_softmax_of_the_logits(
    kind: str, laid_over: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    """For every token but the model's end, before bias, mask, penalty and temperature."""
    with lokal.load(request.getfixturevalue(kind), ctx=128, threads=1) as model:
        rows = recorded(model)
        answer = model.generate("hello", logprobs=4, **{**HOT, **laid_over})
        ends = model._native.vocabulary.eog_tokens()
        rows = [(token, logits) for token, logits in rows if token not in ends]
        assert answer.logprobs is not None
        assert [entry.id for entry in answer.logprobs] == [token for token, _ in rows]
        assert rows
        for entry, (token, logits) in zip(answer.logprobs, rows, strict=True):
            expected = softmax(logits)
            assert math.exp(entry.logprob) == pytest.approx(expected[token], abs=1e-9)
            best = np.sort(expected)[::-1][:4]
            assert [math.exp(top.logprob) for top in entry.top] == pytest.approx(list(best))
            assert [expected[top.id] for top in entry.top] == pytest.approx(list(best))
            assert sum(math.exp(top.logprob) for top in entry.top) <= 1 + 1e-9
        text = b"".join(entry.data for entry in answer.logprobs).decode("utf-8", "replace")
        stop = laid_over.get("stop")
        if stop:  # the tokens of the stop text were generated too
            assert answer.finish_reason is FinishReason.STOP
            assert text.removeprefix(" ").startswith(answer.text + stop[0])
        else:
            assert text.removeprefix(" ") == answer.text.removeprefix(" ")


def test_nobody_pays_who_does_not_ask(llama: Path) -> None:
    """None without the option; with 0 the chosen tokens alone."""
    with lokal.load(llama, ctx=64, threads=1) as model:
        plain = model.generate("hello", **HOT)
        alone = model.generate("hello", logprobs=0, **HOT)
    assert plain.logprobs is None
    assert alone.logprobs
    assert alone.text == plain.text
    assert {entry.top for entry in alone.logprobs} == {()}


def test_as_json(llama: Path) -> None:
    """As OpenAI's API has it, with token numbers; control tokens have names and no bytes."""
    origin = Origin("m", "w", "f", 0)
    with lokal.load(llama, ctx=64, threads=1) as model:
        answer = model.generate("hello", logprobs=100, **HOT)
        end = token_logprob(model._native.vocabulary, ggufs.EOS_ID, -1.0, [])
        assert (end.token, end.data) == (ggufs.EOS, b"")
        assert "logprobs" not in as_dict(model.generate("hello", **HOT), origin)
    told = json.loads(json.dumps(as_dict(answer, origin), allow_nan=False))["logprobs"]
    assert answer.logprobs is not None
    for entry, record in zip(told, answer.logprobs, strict=True):
        assert list(entry) == ["token", "id", "logprob", "bytes", "top_logprobs"]
        assert entry["id"] == record.id
        assert entry["logprob"] == pytest.approx(record.logprob, abs=1e-6)
        assert bytes(entry["bytes"]).decode("utf-8", "replace") == entry["token"]
        assert len(entry["top_logprobs"]) == 100
        assert list(entry["top_logprobs"][0]) == ["token", "id", "logprob", "bytes"]


def test_an_answer_that_ends_at_once_has_an_empty_list(llama: Path) -> None:
    """It was asked for, and there is nothing to tell."""
    with lokal.load(llama, ctx=64, threads=1) as model:
        answer = model.generate("hello", logprobs=2, logit_bias=((ggufs.EOS_ID, 1e6),))
    assert (answer.text, answer.logprobs) == ("", ())
    assert as_dict(answer, Origin("m", "w", "f", 0))["logprobs"] == []


def test_side_by_side_they_are_those_of_single_answers(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for rounding, as far as the tokens are the same; threads may do the work."""
    monkeypatch.setattr("lokal.engine.samplers.WORTH_THREADS", 0)
    prompts = ["The fox", "Once there was a dog", "A bird flew", "Rain", "The old man"]
    asked: dict[str, Any] = {"temperature": 0, "max_tokens": 16, "logprobs": 3, "raw": True}
    with lokal.load(tiny, ctx=128, threads=1) as model:
        single = list(model.batch(prompts, **asked))
    with lokal.load(tiny, ctx=128, threads=2, parallel=3) as model:
        rows = list(model.batch(prompts, **asked))
    compared = 0
    for one, other in zip(single, rows, strict=True):
        assert one.logprobs
        assert other.logprobs
        assert len(other.logprobs) == other.usage.completion_tokens - (
            other.finish_reason is FinishReason.STOP
        )
        for a, b in zip(one.logprobs, other.logprobs, strict=False):
            compared += 1
            for x, y in zip((a, *a.top), (b, *b.top), strict=True):
                assert x.logprob == pytest.approx(y.logprob, abs=0.1)
            if a.id != b.id:
                break
    assert compared > 40


def test_answers_that_share_a_prompt_see_the_same_row(llama: Path) -> None:
    """One mask lies on it for all; what is told is from before."""
    asked: dict[str, Any] = {**HOT, "logprobs": 5, "grammar": Grammar("regex", "[ab]{4}")}
    with lokal.load(llama, ctx=64, threads=1) as model:
        alone = model.generate("hello", **asked)
    with lokal.load(llama, ctx=64, threads=1, parallel=3) as model:
        rows = list(model.batch(["hello"] * 3, **asked))
    assert sum(row.usage.cached_tokens > 0 for row in rows) == 2
    expected = [(top.id, pytest.approx(top.logprob, abs=0.1)) for top in alone.logprobs[0].top]  # type: ignore[index]
    for row in rows:
        assert row.logprobs is not None
        assert [(top.id, top.logprob) for top in row.logprobs[0].top] == expected
        assert row.logprobs[0].token in ("a", "b")
        assert row.logprobs[0].id not in {token for token, _ in expected}


def test_answers_that_fail_or_are_given_up_tell_those_so_far(llama: Path) -> None:
    """A schema that is cut, and Ctrl-C."""
    with lokal.load(llama, ctx=64, threads=1) as model:
        asked = {**HOT, "max_tokens": 3, "logprobs": 1}
        (failed,) = model.batch(["hello"], schema={"type": "string", "minLength": 9}, **asked)
        assert isinstance(failed.error, IncompleteError)
        assert failed.logprobs is not None
        assert len(failed.logprobs) == 3
        assert len(as_dict(failed, Origin("m", "w", "f", 0))["logprobs"]) == 3
        given_up = _interrupted(model, 2)
    assert given_up.finish_reason is FinishReason.ABORTED
    assert given_up.logprobs is not None
    assert len(given_up.logprobs) == given_up.usage.completion_tokens == 2


def _interrupted(model: Model, n_tokens: int) -> Completion:
    prompt = model.format().build(conversation("hello", None))
    request = model.request(prompt, model.sampling(logprobs=1, ignore_eos=True), seed=1)
    engine = model._engine
    engine.add(request)
    events = [event for _ in range(n_tokens) for event in engine.step()]
    return completion(request, [*events, *engine.scheduler.abort(request.id)])


@given(
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=200),
    st.integers(0, 100),
)
def test_any_row(values: list[float], count: int) -> None:
    """The likeliest first, of equal ones the lower number; as many as there are."""
    logits = (ctypes.c_float * len(values))(*values)
    total, top = likely(ctypes.addressof(logits), len(values), count)
    assert total == pytest.approx(math.log(sum(map(math.exp, values))), rel=1e-9, abs=1e-9)
    found = [values[token] for token, _ in top]
    assert found == sorted(values, reverse=True)[:count]
    assert top == sorted(top, key=lambda entry: (-values[entry[0]], entry[0]))
    assert [logprob + total for _, logprob in top] == pytest.approx(found)


def test_what_the_model_rules_out_is_not_listed() -> None:
    """JSON has no infinity."""
    logits = (ctypes.c_float * 4)(1, -math.inf, 1, -math.inf)
    total, top = likely(ctypes.addressof(logits), 4, 4)
    assert top == [(0, 1 - total), (2, 1 - total)]


@pytest.mark.parametrize("value", [-1, 101, 1.5, True, "3"])
def test_how_many_may_be_asked_for(value: Any) -> None:
    """From 0 to 100."""
    SamplingParams(logprobs=100)
    with pytest.raises(UsageError, match="logprobs"):
        SamplingParams(logprobs=value)
