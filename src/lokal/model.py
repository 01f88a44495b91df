"""A model that is loaded and ready: the public Python API."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self, Unpack

from lokal.completion import Completion, completion
from lokal.engine.chat import Message
from lokal.engine.detokenizer import printable
from lokal.engine.engine import Engine
from lokal.engine.interrupt import Interrupt
from lokal.engine.prefix import common
from lokal.engine.prompt import Prompt, PromptFormat, PromptOptions
from lokal.engine.request import Event, FinishEvent, Request, SamplingParams
from lokal.engine.scheduler import Scheduler
from lokal.errors import UsageError
from lokal.loading import LoadOptions
from lokal.opening import open_model
from lokal.requests import PLAIN, Asked, Requests
from lokal.side_by_side import Take, answers, in_order
from lokal.weights import Weights

if TYPE_CHECKING:
    from lokal.engine.constraint import Grammar
    from lokal.engine.vocabulary import Vocabulary


class Model:
    """Weights in memory and a context to run them in; use it as a context manager, or `close` it.

    Threads may share it, and take turns; none may `close` it under another. `load_seconds` is what
    loading took. `notes` are what the user should know of how it was loaded, a line each.

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
        options.check()
        self._interrupt = interrupt
        start = time.perf_counter()
        self.weights = weights
        opened = open_model(weights, options, interrupt)
        self._native, self._context = opened.native, opened.context
        self._plan = opened.plan
        self._lora = options.lora
        self.context, self.notes, self.memory = self._plan.context, opened.notes, opened.memory
        self.shape = self._context.shape
        scheduler = Scheduler(self._native.vocabulary, self.shape)
        self._engine = Engine(self._context, scheduler)
        keep = options.keep and self.shape.n_parallel == 1
        self._requests = Requests(weights, self._native, scheduler, keep=keep)
        self.load_seconds = time.perf_counter() - start

    def close(self) -> None:
        """Free the memory; calling it twice is fine."""
        self._context.close()
        self._native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stream(self, prompt: str | Sequence[Message], **asked: Unpack[Asked]) -> Iterator[str]:
        """Yield the answer piece by piece as the model writes it.

        Leaving the loop ends the answer. Streams may be open at once; as many as `load(parallel=…)`
        said run side by side, the others wait. Reasoning is left out.

        Args:
            prompt: the user's words, or a whole conversation as OpenAI-style messages.
            asked: `lokal.requests.Asked` has them all, such as system, seed, max_tokens, schema.

        Raises:
            ContextError: the prompt does not fit the context.
            UsageError: a sampling value out of range, or a template that refuses the messages.
            ConstraintError: the schema or grammar does not compile.
            IncompleteError: the answer ended before it matched its schema or grammar.
        """
        return self._texts(self._requests.asking(**asked)(prompt))

    def _texts(self, request: Request) -> Iterator[str]:
        for event in self.events(request):
            if isinstance(event, FinishEvent):
                if event.error:
                    raise event.error
            elif not event.reasoning:
                yield printable(event.text)

    def generate(self, prompt: str | Sequence[Message], **asked: Unpack[Asked]) -> Completion:
        """The whole answer at once, and its reasoning; arguments and errors as in `stream`."""
        request = self._requests.asking(**asked)(prompt)
        answer = completion(request, self.events(request))
        if answer.error:
            raise answer.error
        return answer

    def batch(
        self, prompts: Iterable[str | Sequence[Message]], **asked: Unpack[Asked]
    ) -> Iterator[Completion]:
        """Answer many prompts side by side; yields one completion for each, in their order.

        Prompts are taken as there is room for them, so there may be any number; one that several
        ask at once is computed once. One that cannot be answered yields a completion with `error`;
        arguments as in `stream`. How many run at once is decided by `load(parallel=…)`.

        Raises:
            UsageError: a sampling value out of range.
            ConstraintError: the schema or grammar does not compile.
        """
        if isinstance(prompts, str):
            raise UsageError("one text is no batch", hint="give a list of prompts")
        ask = self._requests.asking(**asked)
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
        """How it runs, in a line: devices, sequences, KV cache, weights, adapters, memory."""
        shape, n_parallel = self.shape, self.shape.n_parallel
        many = f"{n_parallel} sequences" if n_parallel > 1 else "one sequence"
        prefixes = ", prefixes shared" if shape.share else ""
        repacked = "" if self._plan.repack else ", weights not repacked"
        each = "one each" if shape.streams and n_parallel > 1 else "one for all"
        adapters = "".join(f", adapter {lora.file.name} x {lora.scale:g}" for lora in self._lora)
        return (
            f"{self.device}; "
            f"{many} of at most {shape.n_ctx} tokens in a KV cache of {shape.n_cells} ({each})"
            f"{prefixes}{repacked}{adapters}; {self.memory}"
        )

    @property
    def device(self) -> str:
        """What computes: CPU, or which layers are on GPUs."""
        return self._plan.placement.description if self._plan.placement.n_gpu_layers else "CPU"

    @property
    def vocabulary(self) -> Vocabulary:
        """Its tokens, and what they write."""
        return self._native.vocabulary

    def check_interrupt(self) -> None:
        """Raises: KeyboardInterrupt: Ctrl-C came while `listening`, and nobody has noticed yet."""
        self._interrupt.check()

    def sampling(self, **changes: Any) -> SamplingParams:
        """The model's recommended sampling with some fields changed.

        Raises:
            UsageError: a value out of range.
        """
        return self._requests.sampling(**changes)

    def logit_bias(self, pairs: Iterable[tuple[str, float]]) -> tuple[tuple[int, float], ...]:
        """What `logit_bias` takes, of tokens that are named by number or by their exact text.

        Raises:
            UsageError: a text that is not one token of this model; says how it is cut.
        """
        return self._requests.logit_bias(pairs)

    def format(self, options: PromptOptions = PLAIN) -> PromptFormat:
        """How to turn messages into tokens for this model.

        Raises:
            UsageError: its reasoning cannot be switched on or off.
        """
        return self._requests.format(options)

    def n_tokens(self, prompt: Prompt) -> int:
        """How many tokens a request for this prompt would have."""
        return len(self._requests.tokens(prompt))

    def n_cached(self, prompt: Prompt) -> int:
        """How many of its tokens the KV cache holds, where it is kept."""
        return common(self._requests.tokens(prompt), tuple(self._engine.scheduler.held()))

    def request(
        self,
        prompt: Prompt,
        params: SamplingParams,
        seed: int | None = None,
        grammar: Grammar | None = None,
    ) -> Request:
        """What to ask with `events` or `answers`; without a seed one is drawn.

        Raises:
            ContextError, UsageError, ConstraintError: as from `stream`.
        """
        return self._requests.request(prompt, params, seed, grammar)

    def events(self, request: Request) -> Generator[Event]:
        """Run a request; the events of the engine, for callers that count and render.

        Raises:
            KeyboardInterrupt: after the final event, if Ctrl-C ended it.
        """
        return self._listening(self._engine.stream(request))

    def side_by_side(self, requests: Iterable[Request]) -> list[Generator[Event]]:
        """Run requests side by side; the events of each, as from `events`.

        All of them move while any of them is read. Read them all to their ends, or close the model.
        """
        opened = [(request, self._engine.open(request)) for request in requests]
        return [self._listening(self._engine.follow(*each)) for each in opened]

    def _listening(self, events: Generator[Event]) -> Generator[Event]:
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
