"""A model that is loaded and ready: the public Python API."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple, Self

from lokal.engine.chat import Message
from lokal.engine.detokenizer import printable
from lokal.engine.engine import Engine
from lokal.engine.interrupt import Interrupt
from lokal.engine.llama import LlamaContext, LlamaModel
from lokal.engine.prompt import Prompt, PromptFormat
from lokal.engine.request import (
    MAX_SEED,
    Event,
    FinishEvent,
    FinishReason,
    Request,
    SamplingParams,
    TextEvent,
    Timings,
    Usage,
    check_seed,
)
from lokal.engine.scheduler import Scheduler
from lokal.errors import LokalError, UsageError
from lokal.loading import REPACK_BELOW, LoadOptions, choose_context, choose_shape
from lokal.weights import Weights

AHEAD = 8  # answers per sequence that may wait for an earlier one

Take = Callable[[bool], Request | None]


class Completion(NamedTuple):
    """A finished answer; one that failed says why in `error`."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    seed: int
    reasoning: str | None = None
    error: LokalError | None = None


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
        n_parallel = options.n_parallel()
        self._native = LlamaModel(
            weights.path, interrupt, gpu_layers=gpu_layers, repack=n_parallel < REPACK_BELOW
        )
        try:
            shares = self._native.shares_prefixes
            shape = choose_shape(weights, self.context.n_ctx, n_parallel, shares=shares)
            self._context = LlamaContext(self._native, interrupt, shape, n_threads=n_threads)
        except BaseException:
            self._native.close()
            raise
        self.shape = self._context.shape
        scheduler = Scheduler(self._native.vocabulary, self.shape)
        self._engine = Engine(self._context, scheduler)
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
        **sampling: Any,
    ) -> Iterator[str]:
        """Yield the answer piece by piece as the model writes it.

        Leaving the loop ends the answer. Of two streams at once, the second waits for the first.

        Args:
            prompt: the user's words, or a whole conversation as OpenAI-style messages.
            system: what goes before the conversation.
            raw: complete the text without a chat template.
            seed: the same seed gives the same text on the same machine; None draws one.
            sampling: any field of `SamplingParams`; what is left out is what the model's makers
                recommend, else llama.cpp's default.

        Raises:
            ContextError: the prompt does not fit the context.
            UsageError: a sampling value out of range, or a template that refuses the messages.
        """
        request = self._request(prompt, system, raw, seed, sampling)
        return self._texts(request)

    def _texts(self, request: Request) -> Iterator[str]:
        for event in self.events(request):
            if isinstance(event, TextEvent):
                yield printable(event.text)

    def generate(
        self,
        prompt: str | Sequence[Message],
        *,
        system: str | None = None,
        raw: bool = False,
        seed: int | None = None,
        **sampling: Any,
    ) -> Completion:
        """The whole answer at once; arguments and errors as in `stream`."""
        request = self._request(prompt, system, raw, seed, sampling)
        return completion(request, self.events(request))

    def batch(
        self,
        prompts: Iterable[str | Sequence[Message]],
        *,
        system: str | None = None,
        raw: bool = False,
        seed: int | None = None,
        **sampling: Any,
    ) -> Iterator[Completion]:
        """Answer many prompts side by side; yields one completion for each, in their order.

        Prompts are taken as there is room for them, so there may be any number. One that cannot be
        answered yields a completion with `error`; arguments as in `stream`. How many run at once
        is decided by `load(parallel=…)`.

        Raises:
            UsageError: a sampling value out of range.
        """
        self.sampling(**sampling)
        numbered = enumerate(prompts)
        places: dict[str, int] = {}
        done: dict[int, Completion] = {}
        n_yielded, more = 0, True

        def take(_idle: bool) -> Request | None:
            nonlocal more
            while more and len(places) + len(done) < AHEAD * self.shape.n_parallel:
                number, prompt = next(numbered, (-1, ""))
                if number < 0:
                    more = False
                    break
                try:
                    request = self._request(prompt, system, raw, seed, sampling)
                    self.check(request)
                except LokalError as error:
                    done[number] = failed(error)
                    continue
                places[request.id] = number
                return request
            return None

        while more or done:
            for request, answer in self.answers(take):
                done[places.pop(request.id)] = answer
                while n_yielded in done:
                    yield done.pop(n_yielded)
                    n_yielded += 1
            while n_yielded in done:
                yield done.pop(n_yielded)
                n_yielded += 1

    def answers(self, take: Take) -> Iterator[tuple[Request, Completion]]:
        """Answer requests side by side; each comes back as it is finished.

        `take(idle)` gives the next request. None says that there is none at hand or, if `idle`,
        that there will never be another one.

        Raises:
            KeyboardInterrupt: Ctrl-C; what was under way is given up.
        """
        under_way: dict[str, tuple[Request, list[Event]]] = {}
        scheduler = self._engine.scheduler
        try:
            while True:
                while scheduler.n_waiting < self.shape.n_parallel:
                    request = take(not under_way)
                    if request is None:
                        break
                    self._engine.add(request)
                    under_way[request.id] = request, []
                if not under_way:
                    break
                with self._interrupt.listening():
                    news = self._engine.step()
                for event in news:
                    request, events = under_way[event.request_id]
                    events.append(event)
                    if isinstance(event, FinishEvent):
                        del under_way[event.request_id]
                        yield request, completion(request, events)
        finally:
            for request_id in under_way:
                scheduler.abort(request_id)
        scheduler.check_integrity()

    @property
    def description(self) -> str:
        """How it runs, in a line: sequences, KV cache, layout of the weights."""
        shape, n_parallel = self.shape, self.shape.n_parallel
        many = f"{n_parallel} sequences" if n_parallel > 1 else "one sequence"
        prefixes = ", prefixes shared" if shape.share else ""
        repacked = "" if n_parallel < REPACK_BELOW else ", weights not repacked"
        return (
            f"{many} of at most {shape.n_ctx} tokens in a KV cache of {shape.n_cells}"
            f"{prefixes}{repacked}"
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

    def _request(
        self,
        prompt: str | Sequence[Message],
        system: str | None,
        raw: bool,
        seed: int | None,
        sampling: dict[str, Any],
    ) -> Request:
        built = self.format(raw=raw).build(conversation(prompt, system))
        return new_request(built, self.sampling(**sampling), seed)


def completion(request: Request, events: Iterable[Event]) -> Completion:
    """The answer that all the events of a request make."""
    text = reasoning = ""
    for event in events:
        if isinstance(event, FinishEvent):
            end = event
        elif event.reasoning:
            reasoning += event.text
        else:
            text += event.text
    return Completion(
        printable(text),
        end.reason,
        end.usage,
        end.timings,
        request.seed,
        printable(reasoning) if request.reasoning else None,
        end.error,
    )


def failed(error: LokalError) -> Completion:
    """What comes of a prompt that cannot be answered."""
    return Completion("", FinishReason.ERROR, Usage(0, 0), Timings(0, 0), 0, None, error)


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
