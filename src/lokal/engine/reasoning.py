"""How models mark their reasoning: rules, and what they come to for one prompt."""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

from lokal.errors import UsageError


class Tokens(Protocol):
    """What marks need of a vocabulary."""

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a text, with BOS in front where the vocabulary wants it."""

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes a token writes; control tokens write none, or their name where `special`."""


class Tags(NamedTuple):
    """Reasoning stands between two tags, in front of the answer.

    The prompt may open or close it already; else the model opens it, or does not and answers at
    once. A tag is one only there: later it is text like any other, and so is a closing tag without
    an opening one, because by then what came before it has been shown as the answer.

    `switch` is the variable of the chat template that turns reasoning on and off; None where it
    cannot be turned off.
    """

    open: str
    close: str
    switch: str | None = None

    @property
    def marks(self) -> tuple[str, ...]:
        """What is never text."""
        return self.open, self.close

    @property
    def opening(self) -> str:
        """What the model begins with where it reasons."""
        return self.open

    @property
    def closing(self) -> str:
        """What ends the reasoning, so that the answer follows."""
        return self.close


class Channels(NamedTuple):
    """Everything stands in messages of a channel each; what the `reasoning` ones hold is such.

    The format is OpenAI's harmony (https://github.com/openai/harmony, docs/format.md):
    `<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…`
    Its commentary channel holds what is meant for the user's eyes, and calls of tools: answer.
    """

    reasoning: tuple[str, ...] = ("analysis",)
    switch: str | None = None

    @property
    def marks(self) -> tuple[str, ...]:
        """What is never text: they end messages, and make up the headers between these."""
        return "<|start|>", "<|channel|>", "<|message|>", "<|end|>"

    @property
    def opening(self) -> str:
        """What the model begins with, whether it reasons or not."""
        return "<|channel|>"

    @property
    def closing(self) -> str:
        """What ends the reasoning, so that the answer follows."""
        return "<|end|><|start|>assistant<|channel|>final<|message|>"


Rule = Tags | Channels

# What stands in the templates of DeepSeek, Qwen, Magistral, Seed-OSS, Command and Gemma 4.
_KNOWN = (
    Tags("<think>", "</think>"),
    Tags("[THINK]", "[/THINK]"),
    Tags("<seed:think>", "</seed:think>"),
    Tags("<|START_THINKING|>", "<|END_THINKING|>"),
    Tags("<|channel>thought", "<channel|>"),
)
# A name that the template gives to something of its own is no variable that it is given. Those of
# DeepSeek and Granite are a word that templates use otherwise too.
_SWITCHES = (
    r"(?<![.\w])(enable_thinking)\b(?!\s*=[^=])",
    r"(?<![.\w])(thinking) is (?:not )?defined\b",
    r"\b(?:el)?if (?:not )?(thinking)\b",
)


def detect(template: str) -> Rule | None:
    """The rule of a model that nobody described, by the marks in its chat template."""
    found = (re.search(pattern, template) for pattern in _SWITCHES)
    switch = next((match[1] for match in found if match), None)
    if "<|channel|>" in template and "<|message|>" in template:
        return Channels(switch=switch)
    for tags in _KNOWN:
        if tags.open in template or tags.close in template:
            return tags._replace(switch=switch)
    return None


def think_variable(rule: Rule | None, template: str | None, think: bool) -> dict[str, bool]:
    """The variable of a template that makes the model reason, or keeps it from it.

    Raises:
        UsageError: the model does not reason, or is not to be told.
    """
    if rule is None or template is None:
        if not think:
            return {}
        raise UsageError(
            "there is no reasoning to switch on: this model marks none, or completes raw text",
            hint="leave out --think",
        )
    if rule.switch and re.search(rf"\b{re.escape(rule.switch)}\b", template):
        return {rule.switch: think}
    if think and not rule.switch:  # it always does
        return {}
    raise UsageError(
        "this model cannot switch its reasoning on or off",
        hint="--reasoning-budget 0 closes it at once",
    )


class Reasoning(NamedTuple):
    """How reasoning is told from the answer to one prompt.

    `prompt` is its text, which may have begun the reasoning, or ended it. `open_token` is the
    token that the model begins with where it reasons, None if it takes several. `closing` are
    tokens that end the reasoning. `exact` says that marks are tokens of their own, so that a text
    which spells one is text; else a mark is a mark however it is written.
    """

    rule: Rule
    prompt: str = ""
    open_token: int | None = None
    closing: tuple[int, ...] = ()
    exact: bool = False

    @classmethod
    def of(cls, rule: Rule, tokens: Tokens) -> Reasoning:
        """For prompts yet to come, in this vocabulary."""
        n_bos = len(tokens.tokenize(""))
        opening, closing = (tokens.tokenize(text)[n_bos:] for text in (rule.opening, rule.closing))
        exact = all(
            len(found := tokens.tokenize(mark)[n_bos:]) == 1
            and tokens.piece(found[0], special=True) == mark.encode()
            # A tag that writes itself is one that a model may spell too. Harmony's marks are
            # control tokens, and it is llama.cpp that has them write themselves.
            and (isinstance(rule, Channels) or not tokens.piece(found[0]))
            for mark in rule.marks
        )
        open_token = opening[0] if len(opening) == 1 else None
        return cls(rule, "", open_token, tuple(closing), exact)
