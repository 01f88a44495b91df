"""Answers with a form, through the Python API: valid, or honestly incomplete."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ggufs
import jsonschema
import pytest

import lokal
from lokal.engine.constraint import Grammar
from lokal.engine.request import FinishReason
from lokal.errors import ConstraintError, IncompleteError, UsageError
from lokal.model import Model

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Z][a-zé]{1,8}$"},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "height": {"type": "number", "minimum": 0.5, "maximum": 2.5, "multipleOf": 0.25},
        "role": {"enum": ["cook", 'the "boss"', None]},
        "pets": {
            "type": "array",
            "items": {"$ref": "#/$defs/pet"},
            "minItems": 1,
            "maxItems": 2,
        },
        "notes": {"type": "string"},
    },
    "required": ["name", "age", "role", "pets"],
    "additionalProperties": False,
    "$defs": {
        "pet": {
            "type": "object",
            "properties": {"kind": {"enum": ["cat", "dog"]}, "legs": {"type": "boolean"}},
            "required": ["kind"],
            "additionalProperties": False,
        }
    },
}
CHOICE = Grammar("regex", "yes|no")


@pytest.fixture(scope="module", params=["tiny", "spm", "bpe"])
def model(request: pytest.FixtureRequest, tiny: Path, models: Path) -> Iterator[Model]:
    """The embedded one, and two with random weights."""
    kind = request.param
    path = tiny if kind == "tiny" else ggufs.write(models / f"{kind}-answers.gguf", vocab=kind)
    with lokal.load(path, ctx=512, threads=1) as model:
        yield model


def test_an_answer_is_valid_or_incomplete(model: Model) -> None:
    """At any temperature; "notes" may go on for ever."""
    validator = jsonschema.Draft202012Validator(PERSON)
    complete = 0
    for seed in range(70):
        hot = {"temperature": (0.8, 1.5, 5.0)[seed % 3], "top_k": 0, "max_tokens": 150}
        try:
            done = model.generate("Who are you?", schema=PERSON, seed=seed, **hot)
        except IncompleteError:
            continue
        complete += 1
        assert done.finish_reason in {FinishReason.STOP, FinishReason.LENGTH}
        validator.validate(json.loads(done.text))
    assert complete >= 20


def test_the_same_seed_gives_the_same_answer(model: Model) -> None:
    """As without a schema; and a request with one leaves no trace in the next."""
    free = model.generate("hello", seed=3, max_tokens=10)
    first = model.generate("hello", grammar=CHOICE, seed=3)
    assert first.text == model.generate("hello", grammar=CHOICE, seed=3).text
    assert model.generate("hello", seed=3, max_tokens=10).text == free.text


def test_an_answer_ends_where_nothing_may_follow(model: Model) -> None:
    """At once, greedily or not; a limit just reached is no failure."""
    for seed, temperature in enumerate((0.0, 1.0, 10.0)):
        done = model.generate("hello", grammar=CHOICE, seed=seed, temperature=temperature)
        assert done.text in {"yes", "no"}
        assert done.finish_reason is FinishReason.STOP
        again = model.generate(
            "hello",
            grammar=CHOICE,
            seed=seed,
            temperature=temperature,
            max_tokens=done.usage.completion_tokens,
        )
        assert again.text == done.text


def test_an_answer_cut_at_the_limit_is_an_error_unless_it_matches(model: Model) -> None:
    """What was streamed before stays; it is the caller's to keep."""
    with pytest.raises(IncompleteError, match="after 3 tokens"):
        model.generate("hello", grammar=Grammar("regex", "[ab]{90}"), max_tokens=3)
    pieces: list[str] = []
    with pytest.raises(IncompleteError):
        pieces.extend(model.stream("hello", grammar=Grammar("regex", "[ab]{90}"), max_tokens=3))
    assert re.fullmatch("[ab]{3,}", "".join(pieces))
    done = model.generate("hello", grammar=Grammar("regex", "[ab]+"), max_tokens=3, temperature=9)
    assert re.fullmatch("[ab]+", done.text)


def test_a_stop_text_that_cuts_it_is_an_error(model: Model) -> None:
    """Half an answer is none, even if it was whole before the stop text was taken off."""
    for stop in (";", "y"):
        with pytest.raises(IncompleteError, match="ended before"):
            model.generate("hello", grammar=Grammar("regex", "x;y"), stop=(stop,))


def test_repetition_is_weighed_and_still_allowed(model: Model) -> None:
    """A penalty makes no token likelier that may not follow."""
    text = model.generate(
        "hello", grammar=Grammar("regex", "(ab){20}"), repeat_penalty=5, temperature=0
    ).text
    assert text == "ab" * 20


def test_a_leading_space_of_the_grammar_s_own_stays(model: Model) -> None:
    """The space that SentencePiece puts in front of an answer is not it."""
    assert model.generate("hello", grammar=Grammar("regex", "  x")).text == "  x"


def test_what_cannot_be_asked_for(model: Model) -> None:
    """Told before anything is computed, when the call is made."""
    with pytest.raises(ConstraintError, match="line 1"):
        model.stream("hello", schema="{")
    with pytest.raises(ConstraintError, match="uniqueItems"):
        model.stream("hello", schema={"type": "array", "uniqueItems": True})
    with pytest.raises(UsageError, match="both"):
        model.stream("hello", schema={}, grammar=CHOICE)
    with pytest.raises(UsageError, match="ignore_eos"):
        model.stream("hello", schema={}, ignore_eos=True)


THINKING = (
    ggufs.TEMPLATE + "{% if add_generation_prompt %}{% if false %}<think>{% endif %}{% endif %}"
)


def thinker(path: Path, template: str) -> Path:
    """A model whose vocabulary has a token each for the two marks, as reasoning models do."""
    tokens, kinds = map(list, zip(*ggufs._spm(), strict=True))
    for word, mark in (("▁hello", "<think>"), ("▁world", "</think>")):
        kinds[tokens.index(word)] = 4  # user-defined
        tokens[tokens.index(word)] = mark
    metadata = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": kinds}
    return ggufs.write(path, template=template, metadata=metadata)


@pytest.mark.parametrize("opened", [True, False])
def test_reasoning_comes_before_the_answer_and_is_free(tmp_path: Path, opened: bool) -> None:
    """Whether the template begins it, or the model may; only the answer is constrained."""
    template = ggufs.TEMPLATE + "<think>\n" if opened else THINKING
    thought = silent = 0
    with lokal.load(thinker(tmp_path / "t.gguf", template), ctx=512, threads=1) as model:
        # All tokens alike: one in 430 ends the reasoning.
        uniform = {"temperature": 100.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
        for seed in range(15):
            try:
                done = model.generate("hi", grammar=CHOICE, seed=seed, **uniform)
            except IncompleteError as error:
                assert "the reasoning" in error.message  # noqa: PT017 - any outcome of the two
                continue
            assert done.text in {"yes", "no"}
            thought += bool(done.reasoning)
            silent += not done.reasoning
            assert "</think>" not in (done.reasoning or "")
            assert not (done.reasoning or "").startswith("<think>")
    assert thought
    assert silent or opened
