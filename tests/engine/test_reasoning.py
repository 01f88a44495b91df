"""Where reasoning is told from the answer."""

from __future__ import annotations

from lokal.engine.reasoning import detect
from lokal.engine.request import Reasoning

TEMPLATE = "{{ messages }}{% if x %}<think>{% endif %}"
BOS, THINK = 1, 99


def one_token(text: str) -> list[int]:
    """A vocabulary that puts BOS in front and has a token for it."""
    return [BOS, *([THINK] if text == "<think>" else [*text.encode()])]


def letters(text: str) -> list[int]:
    return [BOS, *text.encode()]


def test_a_prompt_that_opens_it() -> None:
    """Many templates do, so that the model has no choice; raw prompts can."""
    opened = Reasoning("</think>", opened=True)
    assert detect(TEMPLATE, "user: hello\nassistant: <think>\n", letters) == opened
    assert detect(None, "<think>", letters) == opened


def test_a_model_that_may_open_it() -> None:
    """Its template mentions it, and its vocabulary has a token for it."""
    assert detect(TEMPLATE, "user: hello\nassistant: ", one_token) == Reasoning(
        "</think>", opened=False, open_token=THINK
    )
    assert detect(TEMPLATE, "user: hello\nassistant: ", letters) is None


def test_no_reasoning() -> None:
    """Where the template does not know of it, or the prompt has closed it already."""
    assert detect("{{ messages }}", "hello", one_token) is None
    assert detect(None, "hello", one_token) is None
    assert detect(TEMPLATE, "assistant: <think>\n\n</think>\n\n", one_token) is None


def test_words_of_the_user_open_nothing() -> None:
    """Only the end of the prompt does."""
    assert detect("{{ messages }}", "user: what is <think>?\nassistant:", one_token) is None
