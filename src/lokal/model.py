"""A model that is loaded and ready: the public Python API."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from lokal.engine.chat import Message
from lokal.engine.detokenizer import printable
from lokal.engine.engine import Engine
from lokal.engine.interrupt import Interrupt
from lokal.engine.llama import MAX_THREADS, LlamaContext, LlamaModel, check_threads
from lokal.engine.prompt import Prompt, PromptFormat
from lokal.engine.request import (
    MAX_SEED,
    Event,
    FinishEvent,
    FinishReason,
    Request,
    SamplingParams,
    Timings,
    Usage,
    check_seed,
)
from lokal.engine.scheduler import Scheduler
from lokal.errors import UsageError
from lokal.hardware import context as sizing
from lokal.hardware.cpu import usable_cores
from lokal.hardware.memory import available_bytes
from lokal.weights import Weights

if TYPE_CHECKING:
    from lokal.engine.constraint import Compiler, Grammar


class Completion(NamedTuple):
    """A finished answer."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    seed: int
    reasoning: str | None = None
    """What the model thought before a constrained answer, if it did."""


class LoadOptions(NamedTuple):
    """What the user asked of a load; None and "auto" leave the choice to lokal.

    `ctx` is in tokens; `gpu_layers` is "auto", "all" or a number.
    """

    ctx: int | None = None
    threads: int | None = None
    gpu_layers: str | int = "auto"

    def check(self) -> None:
        """Raises: UsageError: what no file and no machine could make right."""
        self.native_gpu_layers()
        self.native_threads()
        if self.ctx is not None:
            sizing.check_context(self.ctx)

    def native_gpu_layers(self) -> int | None:
        """The number for llama.cpp: -1 offloads every layer, None is its own choice.

        Raises:
            UsageError: not one of the three forms.
        """
        text = str(self.gpu_layers)
        if text == "auto":
            return None
        if text == "all":
            return -1
        if not (text.isascii() and text.isdigit()) or int(text) > 2**31 - 1:
            raise UsageError(f"--gpu-layers {text}", hint="give auto, all, or a number from 0 on")
        return int(text)

    def native_threads(self) -> int:
        """The number for llama.cpp.

        Raises:
            UsageError: out of range.
        """
        if self.threads is None:
            return min(usable_cores(), MAX_THREADS)
        check_threads(self.threads)
        return self.threads


class Model:
    """Weights in memory and a context to run them in; use it as a context manager, or `close` it.

    Not thread-safe. `load_seconds` is what loading took.

    Raises:
        LoadError: llama.cpp refuses the file.
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
        self._native = LlamaModel(weights.path, interrupt, gpu_layers=gpu_layers)
        try:
            self._context = LlamaContext(
                self._native,
                interrupt,
                n_ctx=self.context.n_ctx,
                n_slots=1,
                n_threads=n_threads,
            )
        except BaseException:
            self._native.close()
            raise
        scheduler = Scheduler(
            self._native.vocabulary,
            n_slots=1,
            n_ctx=self.context.n_ctx,
            n_batch=self._context.n_batch,
        )
        self._engine = Engine(self._context, scheduler)
        self._compiler: Compiler | None = None
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
        grammar: Grammar | None = None,
        **sampling: Any,
    ) -> Iterator[str]:
        """Yield the answer piece by piece as the model writes it.

        Leaving the loop ends the answer. Of two streams at once, the second waits for the first.

        Args:
            prompt: the user's words, or a whole conversation as OpenAI-style messages.
            system: what goes before the conversation.
            raw: complete the text without a chat template.
            seed: the same seed gives the same text on the same machine; None draws one.
            schema: a JSON Schema, as text or dict; the answer is JSON that it validates.
            grammar: another form that the answer must have, such as Grammar("regex", "yes|no").
            sampling: any field of `SamplingParams`; what is left out is what the model's makers
                recommend, else llama.cpp's default.

        Raises:
            ContextError: the prompt does not fit the context.
            UsageError: a sampling value out of range, or a template that refuses the messages.
            ConstraintError: the schema or grammar does not compile.
            IncompleteError: the answer ended before it matched its schema or grammar.
        """
        request = self._request(prompt, system, raw, seed, schema, grammar, sampling)
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
        grammar: Grammar | None = None,
        **sampling: Any,
    ) -> Completion:
        """The whole answer at once; arguments and errors as in `stream`."""
        request = self._request(prompt, system, raw, seed, schema, grammar, sampling)
        text = reasoning = ""
        for event in self.events(request):
            if isinstance(event, FinishEvent):
                end = event
            elif event.reasoning:
                reasoning += printable(event.text)
            else:
                text += printable(event.text)
        if end.error:
            raise end.error
        return Completion(text, end.reason, end.usage, end.timings, request.seed, reasoning or None)

    def sampling(self, **changes: Any) -> SamplingParams:
        """The model's recommended sampling with some fields changed.

        Raises:
            UsageError: a value out of range.
        """
        return replace(self.weights.sampling, **changes)

    def format(self, *, raw: bool = False) -> PromptFormat:
        """How to turn messages into tokens for this model.

        Raises:
            ValueError: the model is closed.
        """
        if not self._native.native:
            raise ValueError("the model is closed")
        return PromptFormat(self._native.vocabulary, None if raw else self.weights.template)

    def check(self, request: Request) -> None:
        """Raises: ContextError: the prompt does not fit the context."""
        self._engine.scheduler.check(request)

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

    def constrain(self, request: Request, grammar: Grammar, prompt: Prompt) -> Request:
        """The request with an answer that must match; reasoning before it need not.

        Raises:
            UsageError: the request ignores the end of an answer.
            ConstraintError: the grammar does not compile.
        """
        # Most runs ask for no form, and their start is to take no longer.
        from lokal.engine.constraint import Compiler
        from lokal.engine.reasoning import detect

        if request.params.ignore_eos:
            raise UsageError(
                "ignore_eos goes on where an answer that matches must end", hint="leave it out"
            )
        if self._compiler is None:
            self._compiler = Compiler(self._native.vocabulary)
        return request._replace(
            constraint=self._compiler.compile(grammar),
            reasoning=detect(self.weights.template, prompt.text, self._native.vocabulary.tokenize),
            drop_space=False,  # the grammar says how the answer begins
        )

    def _request(
        self,
        prompt: str | Sequence[Message],
        system: str | None,
        raw: bool,
        seed: int | None,
        schema: str | Mapping[str, Any] | None,
        grammar: Grammar | None,
        sampling: dict[str, Any],
    ) -> Request:
        if schema is not None:
            if grammar is not None:
                raise UsageError("both a schema and a grammar", hint="give one of them")
            from lokal.engine.constraint import schema_grammar

            grammar = schema_grammar(schema)
        built = self.format(raw=raw).build(conversation(prompt, system))
        request = new_request(built, self.sampling(**sampling), seed)
        return self.constrain(request, grammar, built) if grammar else request


def choose_context(weights: Weights, options: LoadOptions) -> sizing.Context:
    """The context these weights would get on this machine now."""
    return sizing.choose(weights.header, weights.context_limit, options.ctx, available_bytes())


def conversation(prompt: str | Sequence[Message], system: str | None = None) -> list[Message]:
    """Messages out of what the user gave.

    Raises:
        UsageError: there are none, or one of them has no role or no text.
    """
    turns: list[Message] = (
        [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    )
    if not turns:
        raise UsageError("a conversation without messages", hint="give at least one")
    for number, turn in enumerate(turns, 1):
        for key in ("role", "content"):
            if not isinstance(turn, Mapping) or not isinstance(turn.get(key), str):
                raise UsageError(
                    f"message {number} has no {key}", hint="give each a role and a content, as text"
                )
    return [{"role": "system", "content": system}, *turns] if system else turns


def new_request(prompt: Prompt, params: SamplingParams, seed: int | None) -> Request:
    """A request with a seed drawn where none is given."""
    if seed is None:
        seed = int.from_bytes(os.urandom(4)) % (MAX_SEED + 1)
    check_seed(seed)
    return Request(prompt.tokens, params, seed, os.urandom(8).hex(), prompt.drop_space)


def fingerprint(params: SamplingParams, **shaping: Any) -> str:
    """A short hash of everything besides the weights and the seed that shapes the output."""
    import hashlib
    import json

    canonical = json.dumps({**asdict(params), **shaping}, sort_keys=True)
    return hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()[:16]
