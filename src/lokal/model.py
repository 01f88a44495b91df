"""A model that is loaded and ready: the public Python API."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from lokal.completion import Completion, completion
from lokal.conversation import conversation
from lokal.engine.chat import Message
from lokal.engine.continuation import continued
from lokal.engine.detokenizer import printable
from lokal.engine.engine import Engine
from lokal.engine.interrupt import Interrupt
from lokal.engine.llama import LlamaContext, LlamaModel
from lokal.engine.prompt import Prompt, PromptFormat, PromptOptions
from lokal.engine.request import (
    MAX_SEED,
    Event,
    FinishEvent,
    Request,
    SamplingParams,
    check_seed,
)
from lokal.engine.scheduler import Scheduler
from lokal.errors import UsageError
from lokal.loading import (
    REPACK_BELOW,
    LoadOptions,
    check_adapters,
    choose_context,
    choose_shape,
)
from lokal.side_by_side import Take, answers, in_order
from lokal.weights import Weights

if TYPE_CHECKING:
    from lokal.engine.constraint import Compiler, Grammar
    from lokal.engine.request import Constraint

PLAIN = PromptOptions()


class Model:
    """Weights in memory and a context to run them in; use it as a context manager, or `close` it.

    Threads may share it, and take turns; none may `close` it under another. `load_seconds` is what
    loading took.

    Raises:
        LoadError: llama.cpp refuses the file, or an adapter is none for it.
        SpaceError: the context does not fit the memory.
        UsageError: an option out of range.
        KeyboardInterrupt: Ctrl-C came while it loaded.
    """

    def __init__(
        self,
        weights: Weights,
        options: LoadOptions | None = None,
        interrupt: Interrupt | None = None,
    ) -> None:
        options, interrupt = options or LoadOptions(), interrupt or Interrupt()
        self._interrupt = interrupt
        start = time.perf_counter()
        self.weights = weights
        self.context = choose_context(weights, options)
        gpu_layers, n_threads = options.native_gpu_layers(), options.native_threads()
        n_parallel = options.n_parallel()
        check_adapters(weights, options.lora)
        self._lora = options.lora
        self._native = LlamaModel(
            weights.path,
            interrupt,
            gpu_layers=gpu_layers,
            repack=n_parallel < REPACK_BELOW,
            lora=options.lora,
        )
        try:
            shares = self._native.shares_prefixes
            shape = choose_shape(
                weights, self.context.n_ctx, n_parallel, shares=shares, keep=options.keep
            )
            self._context = LlamaContext(self._native, interrupt, shape, n_threads=n_threads)
        except BaseException:
            self._native.close()
            raise
        self.shape = self._context.shape
        scheduler = Scheduler(self._native.vocabulary, self.shape)
        self._engine = Engine(self._context, scheduler)
        self._compiler: Compiler | None = None
        self._keep = options.keep
        self.load_seconds = time.perf_counter() - start

    def close(self) -> None:
        """Free the memory; calling it twice is fine."""
        self._context.close()
        self._native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stream(
        self,
        prompt: str | Sequence[Message],
        *,
        system: str | None = None,
        raw: bool = False,
        seed: int | None = None,
        schema: str | Mapping[str, Any] | None = None,
        grammar: str | Grammar | None = None,
        **sampling: Any,
    ) -> Iterator[str]:
        """Yield the answer piece by piece as the model writes it.

        Leaving the loop ends the answer. Streams may be open at once; as many as `load(parallel=…)`
        said run side by side, the others wait.

        Args:
            prompt: the user's words, or a whole conversation as OpenAI-style messages.
            system: what goes before the conversation.
            raw: complete the text without a chat template.
            seed: the same seed gives the same text on the same machine; None draws one.
            schema: a JSON Schema, as text or dict; the answer is JSON that it validates.
            grammar: another form that the answer must have: a grammar in GBNF or Lark, or a
                `lokal.engine.constraint.Grammar`, such as Grammar("regex", "yes|no").
            sampling: any field of `SamplingParams`; what is left out is what the model's makers
                recommend, else llama.cpp's default.

        Raises:
            ContextError: the prompt does not fit the context.
            UsageError: a sampling value out of range, or a template that refuses the messages.
            ConstraintError: the schema or grammar does not compile.
            IncompleteError: the answer ended before it matched its schema or grammar.
        """
        form = self._grammar(schema, grammar)
        built = self.format(PromptOptions(raw=raw)).build(conversation(prompt, system))
        request = self.request(built, self.sampling(**sampling), seed, form)
        return self._texts(request)

    def _texts(self, request: Request) -> Iterator[str]:
        for event in self.events(request):
            if isinstance(event, FinishEvent):
                if event.error:
                    raise event.error
            elif not event.reasoning:
                yield printable(event.text)

    def generate(
        self,
        prompt: str | Sequence[Message],
        *,
        system: str | None = None,
        raw: bool = False,
        seed: int | None = None,
        schema: str | Mapping[str, Any] | None = None,
        grammar: str | Grammar | None = None,
        **sampling: Any,
    ) -> Completion:
        """The whole answer at once; arguments and errors as in `stream`."""
        form = self._grammar(schema, grammar)
        built = self.format(PromptOptions(raw=raw)).build(conversation(prompt, system))
        request = self.request(built, self.sampling(**sampling), seed, form)
        answer = completion(request, self.events(request))
        if answer.error:
            raise answer.error
        return answer

    def batch(
        self,
        prompts: Iterable[str | Sequence[Message]],
        *,
        system: str | None = None,
        raw: bool = False,
        seed: int | None = None,
        schema: str | Mapping[str, Any] | None = None,
        grammar: str | Grammar | None = None,
        **sampling: Any,
    ) -> Iterator[Completion]:
        """Answer many prompts side by side; yields one completion for each, in their order.

        Prompts are taken as there is room for them, so there may be any number. One that cannot be
        answered yields a completion with `error`; arguments as in `stream`. How many run at once
        is decided by `load(parallel=…)`.

        Raises:
            UsageError: a sampling value out of range.
            ConstraintError: the schema or grammar does not compile.
        """
        if isinstance(prompts, str):
            raise UsageError("one text is no batch", hint="give a list of prompts")
        params, form = self.sampling(**sampling), self._grammar(schema, grammar)
        format_ = self.format(PromptOptions(raw=raw))

        def ask(prompt: str | Sequence[Message]) -> Request:
            return self.request(format_.build(conversation(prompt, system)), params, seed, form)

        return in_order(self.answers, self.shape.n_parallel, map(partial(partial, ask), prompts))

    @property
    def n_sampled(self) -> int:
        """Tokens generated since it was loaded."""
        return self._engine.scheduler.n_sampled

    def answers(
        self, take: Take, moved: Callable[[], object] = lambda: None
    ) -> Iterator[tuple[Request, Completion]]:
        """Answer requests side by side; each comes back as it is finished.

        `take(idle)` gives the next request, or None if it has none now. If `idle` is true nothing
        is under way, and None ends it. `moved` is called after every batch of tokens.

        Raises:
            KeyboardInterrupt: Ctrl-C; what was under way is given up.
        """
        return answers(self._engine, self._interrupt, self.shape.n_parallel, take, moved)

    @property
    def description(self) -> str:
        """How it runs, in a line: sequences, KV cache, layout of the weights, adapters."""
        shape, n_parallel = self.shape, self.shape.n_parallel
        many = f"{n_parallel} sequences" if n_parallel > 1 else "one sequence"
        prefixes = ", prefixes shared" if shape.share else ""
        repacked = "" if n_parallel < REPACK_BELOW else ", weights not repacked"
        each = "one each" if shape.streams and n_parallel > 1 else "one for all"
        adapters = "".join(f", adapter {lora.file.name} x {lora.scale:g}" for lora in self._lora)
        return (
            f"{many} of at most {shape.n_ctx} tokens in a KV cache of {shape.n_cells} ({each})"
            f"{prefixes}{repacked}{adapters}"
        )

    def check_interrupt(self) -> None:
        """Raises: KeyboardInterrupt: Ctrl-C came while `listening`, and nobody has noticed yet."""
        self._interrupt.check()

    def sampling(self, **changes: Any) -> SamplingParams:
        """The model's recommended sampling with some fields changed.

        Raises:
            UsageError: a value out of range.
        """
        return replace(self.weights.sampling, **changes)

    def logit_bias(self, pairs: Iterable[tuple[str, float]]) -> tuple[tuple[int, float], ...]:
        """What `logit_bias` takes, of tokens that are named by number or by their exact text.

        Raises:
            UsageError: a text that is not one token of this model; says how it is cut.
            ValueError: the model is closed.
        """
        if not self._native.native:
            raise ValueError("the model is closed")
        from lokal.engine.logit_bias import resolve_logit_bias

        return resolve_logit_bias(pairs, self._native.vocabulary)

    def format(self, options: PromptOptions = PLAIN) -> PromptFormat:
        """How to turn messages into tokens for this model.

        Raises:
            UsageError: its reasoning cannot be switched on or off.
            ValueError: the model is closed.
        """
        if not self._native.native:
            raise ValueError("the model is closed")
        weights = self.weights
        return PromptFormat.of(
            self._native.vocabulary, weights.template, options, weights.reasoning
        )

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
        if params.reasoning_budget is not None and prompt.reasoning is None:
            raise UsageError(
                "a budget for reasoning, and none is told from the answer here: this model marks"
                " none, or completes raw text",
                hint="leave out --reasoning-budget (reasoning_budget)",
            )
        if params.logit_bias:
            from lokal.engine.logit_bias import check_tokens

            check_tokens(params.logit_bias, self._native.vocabulary.n_tokens)
        tokens = prompt.tokens
        if self._keep:
            spell = self._native.vocabulary.spelling
            tokens = continued(tokens, self._engine.scheduler.held(), spell)
        request = Request(
            tokens,
            params,
            seed,
            os.urandom(8).hex(),
            prompt.drop_space,
            reasoning=prompt.reasoning,
        )
        self._engine.scheduler.check(request)
        return self._constrained(request, grammar) if grammar else request

    def events(self, request: Request) -> Iterator[Event]:
        """Run a request; the events of the engine, for callers that count and render.

        Raises:
            KeyboardInterrupt: after the final event, if Ctrl-C ended it.
        """
        events = self._engine.stream(request)
        # No Ctrl-C cuts the making of an event in two: it waits for the next batch.
        try:
            while True:
                with self._interrupt.listening():
                    event = next(events, None)
                if event is None:
                    break
                yield event
        finally:
            events.close()
        self._interrupt.check()

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
            self._compiler = Compiler(self._native.vocabulary)
        return self._compiler.compile(grammar)
