"""The embedded model keeps its promises, at the sampling that the registry recommends."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

import lokal
from lokal.engine.request import FinishReason
from lokal.model import Model


@pytest.fixture(scope="module")
def tiny() -> Iterator[Model]:
    with lokal.load("tiny") as model:
        yield model


@pytest.mark.parametrize(
    "subject", ["a fox", "a rusty robot", "two sisters", "a wombat named Gladys"]
)
def test_stories_are_about_their_subject_and_end(tiny: Model, subject: str) -> None:
    """Ten seeds of ten: a few sentences, the subject in them, ended by the model itself."""
    noun = subject.split()[-1]
    for seed in range(10):
        story = tiny.generate(f"Tell me a story about {subject}", seed=seed)
        assert story.finish_reason is FinishReason.STOP, seed
        assert noun.lower() in story.text.lower(), story.text
        assert 40 < len(story.text.split()) < 250, story.text
        assert story.text[0].isupper(), story.text
        assert story.text.rstrip()[-1] in '.!?"', story.text


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("What is the capital of France?", "Paris"),
        ("What is the opposite of hot?", "cold"),
        ("What colour is grass?", "green"),
        ("What is 2 plus 3?", "5"),
        ("What comes after Tuesday?", "Wednesday"),
        ("Classify as positive or negative: I love this movie.", "positive"),
        ("Write a Python program that sorts a list", "very small model"),
    ],
)
def test_simple_questions(tiny: Model, question: str, words: str) -> None:
    """The kinds of question that its card names."""
    assert words in tiny.generate(question, temperature=0).text


def test_a_small_extraction_is_json(tiny: Model) -> None:
    """With the keys that were asked for."""
    prompt = 'Extract the name and age as JSON: "Anna is 31 years old and lives in Oslo."'
    assert json.loads(tiny.generate(prompt, temperature=0).text) == {"name": "Anna", "age": 31}
