"""Rules of reasoning: how they are found, switched, and what they come to in a vocabulary."""

from __future__ import annotations

from typing import Any

import pytest

from lokal.engine.prompt import PromptFormat, PromptOptions
from lokal.engine.reasoning import Channels, Reasoning, Rule, Tags, detect
from lokal.errors import UsageError

THINK = Tags("<think>", "</think>")
SWITCHED = THINK._replace(switch="enable_thinking")
TEMPLATE = "{{ messages[0].content }}{% if not enable_thinking %}<think></think>{% endif %}"


class Words:
    """A vocabulary with a token for `<think>`, one for each letter, and BOS in front."""

    bos_text, eos_text, adds_space = "^", "$", False

    def tokenize(self, text: str) -> list[int]:
        return [1, *([99] if text == "<think>" else text.encode())]

    def piece(self, token: int, *, special: bool = False) -> bytes:
        return b"<think>" * special if token == 99 else bytes([token])


@pytest.mark.parametrize(
    ("template", "rule"),
    [
        ("{{ messages }}", None),
        ("{{ x }}<think>\n", THINK),
        ("{{ message.content.split('</think>')[-1] }}", THINK),
        ("{% if enable_thinking is defined %}<think>{% endif %}", SWITCHED),
        ("{% if not thinking is defined %}<think>{% endif %}", THINK._replace(switch="thinking")),
        ("{% if message.thinking is defined %}<think>{% endif %}", THINK),
        ("{% if thinking %}<think>{% endif %}", THINK._replace(switch="thinking")),
        ("{% if thinking_budget %}<think>{% endif %}", THINK),
        ("{% set ns = namespace(enable_thinking=1) %}{{ ns.enable_thinking }}<think>", THINK),
        ("{% if enable_thinking == false %}<think></think>{% endif %}", SWITCHED),
        ("{{ '[THINK]' + block['thinking'] + '[/THINK]' }}", Tags("[THINK]", "[/THINK]")),
        ("<|start|>assistant<|channel|>final<|message|>", Channels()),
        ("{{ '<|channel>thought\n' }}", Tags("<|channel>thought", "<channel|>")),
    ],
)
def test_a_template_shows_how_its_model_reasons(template: str, rule: Rule | None) -> None:
    """For files that nobody described."""
    assert detect(template) == rule


@pytest.mark.parametrize(
    ("rule", "n_closing"),
    [(THINK, len("</think>")), (Channels(), len(Channels().closing))],
)
def test_marks_as_tokens(rule: Rule, n_closing: int) -> None:
    """Without BOS; a mark of several tokens can be let through by no mask."""
    reasoning = Reasoning.of(rule, Words())
    assert reasoning.open_token == (99 if rule == THINK else None)
    assert len(reasoning.closing) == n_closing
    assert not reasoning.exact


class Marks:
    """A vocabulary of letters and these tokens, which write themselves if they are so written."""

    def __init__(self, *marks: str, writes: bool, unknown: bool = False) -> None:
        self.marks, self.writes, self.unknown = marks, writes, unknown

    def tokenize(self, text: str) -> list[int]:
        if text in self.marks:
            return [256 + self.marks.index(text)]
        return [300] * bool(text) if self.unknown else list(text.encode())

    def piece(self, token: int, *, special: bool = False) -> bytes:
        if token == 300:
            return b"<unk>" if special else b""
        if token < 256:
            return bytes([token])
        return self.marks[token - 256].encode() if special or self.writes else b""


def test_marks_are_tokens_where_the_vocabulary_has_them() -> None:
    """Tags if they are control tokens; llama.cpp lets harmony's write themselves all the same."""
    tags, marks = ("<think>", "</think>"), Channels().marks
    for writes in (False, True):
        assert Reasoning.of(THINK, Marks(*tags, writes=writes)).exact is not writes
        assert Reasoning.of(Channels(), Marks(*marks, writes=writes)).exact
        assert not Reasoning.of(THINK, Marks(tags[0], writes=writes)).exact
        assert not Reasoning.of(Channels(), Marks(*marks[1:], writes=writes)).exact
    assert not Reasoning.of(THINK, Marks(writes=False, unknown=True)).exact


def built(think: bool | None, rule: Rule | None = SWITCHED, **options: Any) -> str:
    format_ = PromptFormat.of(Words(), TEMPLATE, PromptOptions(think=think, **options), rule)
    return format_.build([{"role": "user", "content": "hi"}]).text


def test_a_template_s_switch() -> None:
    """Over what the variables of the user's own say."""
    assert built(True) == built(None, template_kwargs={"enable_thinking": True}) == "hi"
    assert built(False) == built(None) == "hi<think></think>"
    assert built(True, template_kwargs={"enable_thinking": False}) == "hi"


def test_what_cannot_be_switched() -> None:
    """A model that always reasons does so on request too."""
    assert built(True, THINK) == "hi<think></think>"
    other = THINK._replace(switch="thinking")
    for think, rule in ((False, THINK), (True, other), (False, other), (False, Channels())):
        with pytest.raises(UsageError, match="cannot switch its reasoning") as caught:
            built(think, rule)
        assert caught.value.hint == "--reasoning-budget 0 closes it at once"
    for rule, options in ((None, {}), (SWITCHED, {"raw": True})):
        assert built(False, rule, **options) == built(None, rule, **options)
        with pytest.raises(UsageError, match="no reasoning to switch"):
            built(True, rule, **options)


def test_a_prompt_carries_how_its_answer_is_split() -> None:
    """A raw one does not: all that it is completed with is text."""
    messages = [{"role": "user", "content": "hi<think>"}]
    format_ = PromptFormat.of(Words(), "{{ messages[0].content }}", PromptOptions(), THINK)
    prompt = format_.build(messages)
    assert prompt.reasoning
    assert (prompt.reasoning.rule, prompt.reasoning.prompt) == (THINK, "hi<think>")
    raw = PromptFormat.of(Words(), "x", PromptOptions(raw=True), THINK)
    assert raw.build(messages).reasoning is None
