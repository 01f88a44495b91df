"""The prompts of the batch comparisons: words that are one token each, the same in every run."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from make_model import WORDS

PROMPT, PREFIX, LEAST, MOST = 211, 168, 16, 64  # tokens
DOCUMENTS, DOCUMENT, QUESTIONS, QUESTION = 4, 500, 12, 20
ROWS = 48


class Ask(NamedTuple):
    """A prompt, and how many tokens to answer with."""

    prompt: str
    max_tokens: int


def shared() -> list[Ask]:
    """Prompts of about PROMPT tokens, of which the first PREFIX are the same, BOS among them."""
    return _prompts(random.Random(11), PREFIX)


def unshared() -> list[Ask]:
    """The same sizes with nothing in common but BOS."""
    return _prompts(random.Random(12), 1)


def tree() -> list[Ask]:
    """Several questions about each of a few documents; the documents take turns."""
    random_ = random.Random(13)
    # The first word differs: what rows of two documents share is BOS, and of one the document.
    documents = [f"{first} {_words(random_, DOCUMENT - 2)}" for first in _firsts(DOCUMENTS)]
    return [
        Ask(f"{document} {question} {_words(random_, QUESTION - 1)}", 4)
        for question in _firsts(QUESTIONS)
        for document in documents
    ]


def write(path: Path, asks: Iterable[Ask]) -> Path:
    """As JSON lines for `llm batch`; returns the path."""
    with path.open("w") as file:
        for prompt, n in asks:
            row = {"prompt": prompt, "max_tokens": n, "ignore_eos": True}
            file.write(f"{json.dumps(row)}\n")
    return path


def _prompts(random_: random.Random, prefix: int) -> list[Ask]:
    head = _words(random_, prefix - 1)
    asks = []
    for _ in range(ROWS):
        tail = _words(random_, random_.randint(PROMPT - 6, PROMPT + 6) - prefix)
        asks.append(Ask(f"{head} {tail}".strip(), random_.randint(LEAST, MOST)))
    return asks


def _words(random_: random.Random, count: int) -> str:
    return " ".join(random_.choices(WORDS.split(), k=count))


def _firsts(count: int) -> list[str]:
    return WORDS.split()[:count]
