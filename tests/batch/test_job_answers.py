"""Answers of many prompts side by side are those of one prompt at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import lokal
from lokal.model import Model

ANIMALS = [
    "fox",
    "wombat",
    "heron",
    "bear",
    "cat",
    "owl",
    "dog",
    "mouse",
    "whale",
    "crab",
    "lion",
    "snake",
    "frog",
    "bee",
    "horse",
]
ASKED = ["Tell me a story about a {}.", "What does a {} eat?", "Why is the {} sad?", "{}"]
PROMPTS = [asked.format(animal) for asked in ASKED for animal in ANIMALS]
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 16}


@pytest.fixture(scope="module")
def single() -> Iterator[Model]:
    with lokal.load("tiny", threads=1) as model:
        yield model


@pytest.fixture(scope="module")
def alone(single: Model) -> list[str]:
    """What each prompt gets by itself."""
    return [single.generate(prompt, **GREEDY).text for prompt in PROMPTS]


def test_one_at_a_time_they_are_the_same(single: Model, alone: list[str]) -> None:
    """All of them, to the last byte."""
    assert [answer.text for answer in single.batch(PROMPTS, **GREEDY)] == alone


def test_one_at_a_time_drawn_answers_are_the_same_too(single: Model) -> None:
    drawn = {"seed": 4, "temperature": 1, "max_tokens": 30}
    alone = [single.generate(prompt, **drawn).text for prompt in PROMPTS[:8]]
    assert [answer.text for answer in single.batch(PROMPTS[:8], **drawn)] == alone


def test_side_by_side_nearly_all_are_the_same(alone: list[str]) -> None:
    """Not all: how many tokens are computed together decides in which order floating-point numbers
    are added, so that logits differ a little, and a little more where activations are rounded to
    eight bits as here; where two tokens are about as likely, the other one wins, and the answer
    goes on from there.
    """
    with lokal.load("tiny", threads=1, parallel=16) as model:
        answers = [answer.text for answer in model.batch(PROMPTS, **GREEDY)]
    same = sum(one == other for one, other in zip(alone, answers, strict=True))
    assert same >= 0.9 * len(PROMPTS)
