"""Requests to a loaded model, made of what a caller asks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from lokal.conversation import conversation
from lokal.engine.chat import Message
from lokal.engine.llama import LlamaModel
from lokal.engine.prompt import Prompt, PromptFormat, PromptOptions
from lokal.engine.request import MAX_SEED, Request, SamplingParams, check_seed
from lokal.engine.scheduler import Scheduler
from lokal.engine.vocabulary import Vocabulary
from lokal.errors import UsageError
from lokal.weights import Weights

if TYPE_CHECKING:
    from lokal.engine.constraint import Compiler, Grammar
    from lokal.engine.request import Constraint

PLAIN = PromptOptions()


class Asked(TypedDict, total=False):
    """What may be asked of an answer, all of it optional.

    Of the sampling (`SamplingParams` explains it) what is left out is what the model's makers
    recommend, else llama.cpp's default.
    """

    system: str | None
    """What goes before the conversation."""
    raw: bool
    """Complete the text without a chat template."""
    tools: Sequence[Mapping[str, Any]] | None
    """Functions that are described to the model, in OpenAI's form."""
    think: bool | None
    """Let the model reason before it answers, or not, where its template can switch it."""
    template_kwargs: Mapping[str, Any] | None
    """Variables for the chat template."""
    seed: int | None
    """The same seed gives the same text on the same machine; None draws one."""
    schema: str | Mapping[str, Any] | None
    """A JSON Schema, as text or dict; the answer is JSON that it validates."""
    grammar: str | Grammar | None
    """Another form that the answer must have: a grammar in GBNF or Lark, or a
    `lokal.engine.constraint.Grammar`, such as Grammar("regex", "yes|no")."""
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repeat_penalty: float
    max_tokens: int | None
    stop: tuple[str, ...]
    ignore_eos: bool
    reasoning_budget: int | None
    logit_bias: tuple[tuple[int, float], ...]
    logprobs: int | None


def check_budget(prompt: Prompt, params: SamplingParams) -> None:
    """Raises: UsageError: a budget for reasoning, where none is told from the answer."""
    if params.reasoning_budget is not None and prompt.reasoning is None:
        raise UsageError(
            "a budget for reasoning, and none is told from the answer here: this model marks none,"
            " or completes raw text",
            hint="leave out --reasoning-budget (reasoning_budget)",
        )


def _check(name: str, value: object, holds: bool, kind: str) -> None:
    if not holds:
        raise UsageError(f"{name} is {value!r:.50}", hint=f"give {kind}")


class Requests:
    """Makes requests to a model; with `keep` they go on where the KV cache stopped, if possible."""

    def __init__(
        self, weights: Weights, native: LlamaModel, scheduler: Scheduler, *, keep: bool
    ) -> None:
        self._weights = weights
        self._native = native
        self._scheduler = scheduler
        self._keep = keep
        self._compiler: Compiler | None = None

    def asking(self, **asked: Unpack[Asked]) -> Callable[[str | Sequence[Message]], Request]:
        """What makes a request of a prompt; all that can be refused without one is refused here.

        Raises:
            UsageError: a value out of range.
            ConstraintError: the schema or grammar does not compile.
        """
        system, seed = asked.pop("system", None), asked.pop("seed", None)
        tools = asked.pop("tools", None) or []
        variables = asked.pop("template_kwargs", None) or {}
        _check("system", system, isinstance(system, str | None), "a text")
        are_tools = isinstance(tools, Sequence) and all(isinstance(t, Mapping) for t in tools)
        _check("tools", tools, are_tools, "a list of dicts, as in OpenAI's API")
        _check("template_kwargs", variables, isinstance(variables, Mapping), "a dict")
        options = PromptOptions(
            asked.pop("raw", False), tuple(tools), asked.pop("think", None), variables
        )
        grammar = self._grammar(asked.pop("schema", None), asked.pop("grammar", None))
        params, format_ = self.sampling(**asked), self.format(options)

        def ask(prompt: str | Sequence[Message]) -> Request:
            return self.request(format_.build(conversation(prompt, system)), params, seed, grammar)

        return ask

    def sampling(self, **changes: Any) -> SamplingParams:
        """As `Model.sampling`."""
        return replace(self._weights.sampling, **changes)

    def logit_bias(self, pairs: Iterable[tuple[str, float]]) -> tuple[tuple[int, float], ...]:
        """As `Model.logit_bias`."""
        pairs = tuple(pairs)
        if not pairs:  # as in most runs, whose start is to take no longer
            return ()
        from lokal.engine.logit_bias import resolve_logit_bias

        return resolve_logit_bias(pairs, self._vocabulary)

    def format(self, options: PromptOptions = PLAIN) -> PromptFormat:
        """As `Model.format`."""
        weights = self._weights
        return PromptFormat.of(self._vocabulary, weights.template, options, weights.reasoning)

    def request(
        self,
        prompt: Prompt,
        params: SamplingParams,
        seed: int | None = None,
        grammar: Grammar | None = None,
    ) -> Request:
        """What to ask of the engine; without a seed one is drawn.

        Raises:
            ContextError, UsageError: the prompt does not fit the context, or is empty; a bias for a
                token that this model lacks; a budget for reasoning where there is none.
            ConstraintError: the grammar does not compile.
        """
        if seed is None:
            seed = int.from_bytes(os.urandom(4)) % (MAX_SEED + 1)
        check_seed(seed)
        check_budget(prompt, params)
        if params.logit_bias:
            from lokal.engine.logit_bias import check_tokens

            check_tokens(params.logit_bias, self._vocabulary.n_tokens)
        request = Request(
            self.tokens(prompt),
            params,
            seed,
            os.urandom(8).hex(),
            prompt.drop_space,
            reasoning=prompt.reasoning,
        )
        self._scheduler.check(request)
        return self._constrained(request, grammar) if grammar else request

    def tokens(self, prompt: Prompt) -> tuple[int, ...]:
        """The tokens that a request has for a prompt; with `keep` as the KV cache holds them."""
        if not self._keep:
            return prompt.tokens
        from lokal.engine.continuation import continued

        tokens = continued(prompt.tokens, self._scheduler.held(), self._vocabulary.spelling)
        # A model may write more tokens than its text needs; what fits is not to be refused for it.
        return tokens if len(tokens) < self._scheduler.shape.n_ctx else prompt.tokens

    @property
    def _vocabulary(self) -> Vocabulary:
        if not self._native.native:
            raise ValueError("the model is closed")
        return self._native.vocabulary

    def _constrained(self, request: Request, grammar: Grammar) -> Request:
        """The request with an answer that must match; reasoning before it need not."""
        if request.params.ignore_eos:
            raise UsageError(
                "ignore_eos goes on where an answer that matches must end", hint="leave it out"
            )
        return request._replace(
            constraint=self._compiled(grammar),
            drop_space=False,  # the grammar says how the answer begins
        )

    def _grammar(
        self, schema: str | Mapping[str, Any] | None, grammar: str | Grammar | None
    ) -> Grammar | None:
        """The form that answers must have, compiled once to see that it can be."""
        if schema is None and grammar is None:
            return None
        from lokal.engine.constraint import Grammar, schema_grammar

        if schema is not None and grammar is not None:
            raise UsageError("both a schema and a grammar", hint="give one of them")
        form = Grammar("grammar", grammar) if isinstance(grammar, str) else grammar
        if schema is not None:
            form = schema_grammar(schema)
        if not isinstance(form, Grammar):
            raise UsageError(f"the grammar is {form!r:.50}", hint="give a text or a Grammar")
        self._compiled(form)
        return form

    def _compiled(self, grammar: Grammar) -> Constraint:
        # Most runs ask for no form, and their start is to take no longer.
        from lokal.engine.constraint import Compiler

        if self._compiler is None:
            self._compiler = Compiler(self._vocabulary)
        return self._compiler.compile(grammar)
