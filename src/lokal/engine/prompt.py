"""From messages to the tokens that the model reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self

from lokal.engine.chat import Message, render_keeping_system
from lokal.engine.reasoning import Reasoning, Rule, Tokens, think_variable
from lokal.errors import UsageError


class Tokenizer(Tokens, Protocol):
    """What prompts need of a vocabulary."""

    @property
    def adds_space(self) -> bool:
        """Whether a space is put in front of a text."""

    @property
    def bos_text(self) -> str:
        """How BOS is spelled; empty if there is none."""

    @property
    def eos_text(self) -> str:
        """How EOS is spelled; empty if there is none."""


class Prompt(NamedTuple):
    """What the model reads, as text and as token ids."""

    text: str
    tokens: tuple[int, ...]
    n_dropped: int = 0
    """Characters that `fit` cut off the front of the longest message."""
    drop_space: bool = False
    """Whether the answer will begin with a space that the vocabulary put there."""
    reasoning: Reasoning | None = None
    """How reasoning is told from the answer, if the model may reason."""
    tools_shown: bool = True
    """False where tools were given and the chat template leaves them out."""


class PromptOptions(NamedTuple):
    """How a conversation is to become a prompt.

    `raw` leaves the chat template out. `tools` are described to the model in OpenAI's form, `think`
    switches its reasoning on or off, `template_kwargs` are further variables of its template.
    """

    raw: bool = False
    tools: tuple[Mapping[str, Any], ...] = ()
    think: bool | None = None
    template_kwargs: Mapping[str, Any] = {}


# What a template gets from us.
RESERVED = {"template", "messages", "tools", "bos_token", "eos_token", "add_generation_prompt"}


def check_variables(variables: Mapping[str, Any]) -> None:
    """Raises: UsageError: variables for a chat template that are not the caller's to set."""
    if names := RESERVED & {*variables}:
        raise UsageError(
            f"{min(names)!r} is no variable to set for a chat template", hint="lokal sets it itself"
        )


class PromptFormat(NamedTuple):
    """How one model wants to be addressed: `template` is None where it only completes text.

    `tools` and `kwargs` are variables of the template. `reasoning` is how the model marks its own.
    """

    tokenizer: Tokenizer
    template: str | None
    tools: tuple[Mapping[str, Any], ...] = ()
    kwargs: Mapping[str, Any] = {}
    reasoning: Reasoning | None = None

    @classmethod
    def of(
        cls,
        tokenizer: Tokenizer,
        template: str | None,
        options: PromptOptions,
        rule: Rule | None = None,
    ) -> Self:
        """How a model with this template, if any, wants to be addressed under these options.

        `rule` says how it marks reasoning; of what completes raw text nothing is told apart.

        Raises:
            UsageError: its reasoning cannot be switched as `options.think` asks, or a variable for
                its template is not the caller's to set.
        """
        check_variables(options.template_kwargs)
        if options.raw:
            template = rule = None
        kwargs = options.template_kwargs
        if options.think is not None:
            kwargs = {**kwargs, **think_variable(rule, template, options.think)}
        reasoning = rule and Reasoning.of(rule, tokenizer)
        return cls(tokenizer, template, options.tools, kwargs, reasoning)

    def build(self, messages: Sequence[Message]) -> Prompt:
        """Render and tokenize.

        Raises:
            UsageError: the template refuses the messages.
            LoadError: the template is broken.
        """
        if self.template is None:
            text = "\n\n".join(str(message["content"]) for message in messages)
            tokens = tuple(self.tokenizer.tokenize(text))
            return Prompt(text, tokens, tools_shown=not self.tools)
        text, tools_shown = render_keeping_system(
            self.template,
            messages,
            bos_token=self.tokenizer.bos_text,
            eos_token=self.tokenizer.eos_text,
            tools=list(self.tools) or None,
            **self.kwargs,
        )
        tokens = tuple(self.tokenizer.tokenize(text))
        reasoning = self.reasoning and self.reasoning._replace(prompt=text)
        return Prompt(
            text,
            tokens,
            drop_space=self.tokenizer.adds_space,
            reasoning=reasoning,
            tools_shown=tools_shown,
        )

    def fit(self, messages: Sequence[Message], n_tokens: int) -> Prompt:
        """Like `build`, cutting the longest message from its front until `n_tokens` hold it all.

        The result is still longer where the other messages and the template alone are too long.
        """
        turns = [dict(message) for message in messages]
        longest = max(turns, key=lambda message: len(str(message["content"])))
        n_dropped = 0
        while len((prompt := self.build(turns)).tokens) > n_tokens and longest["content"]:
            content = str(longest["content"])
            excess = (len(prompt.tokens) - n_tokens) / len(prompt.tokens)
            cut = min(len(content), 1 + int(len(content) * excess))
            longest["content"] = content[cut:]
            n_dropped += cut
        return prompt._replace(n_dropped=n_dropped)
