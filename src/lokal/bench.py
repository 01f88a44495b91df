"""How fast a model reads and writes, by how many sequences run side by side.

The tests are those of llama-bench and llama-batched-bench: prompts of random tokens are computed,
then tokens are generated one after another from an empty context. They go through the engine that
answers requests, so what it adds is in the numbers: scheduling, greedy sampling, text.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, groupby
from typing import NamedTuple

from lokal.engine.interrupt import Interrupt
from lokal.engine.request import Request, SamplingParams
from lokal.errors import ContextError, SpaceError, UsageError
from lokal.loading import MAX_PARALLEL, REPACK_BELOW, LoadOptions
from lokal.model import Model
from lokal.weights import Weights

SEED = 1  # the same prompts in every run
DRAWN = 4096  # tokens to choose from; looking at a whole vocabulary takes up to a second
_LESS = "lower -j, -p, -n or -c, or choose a smaller model"
WARM_UP = 2  # tokens; the first ones meet cold caches, and threads that are yet to start


class Trial(NamedTuple):
    """Tokens of a prompt, tokens to generate, and how often; a test of 0 tokens is left out."""

    prompt: int = 512
    generate: int = 128
    repetitions: int = 3

    @property
    def n_ctx(self) -> int:
        """The smallest context in which both fit: there is room for a token after a prompt."""
        return max(self.prompt, self.generate) + 1

    def check(self, ctx: int | None) -> None:
        """Whether there is something to measure, and room for it in a context of this size.

        Raises:
            UsageError, ContextError: if not.
        """
        if not self.prompt and not self.generate:
            raise UsageError("both -p and -n are 0", hint="give one of them some tokens")
        if ctx is not None and ctx < self.n_ctx:
            longest = max(self.prompt, self.generate)
            what = "a prompt" if self.prompt == longest else "an answer"
            raise ContextError(
                f"{what} of {longest} tokens needs a context of {self.n_ctx}, not {ctx}",
                hint="raise -c, or lower -p and -n",
            )


class Sample(NamedTuple):
    """Tokens a second, of all sequences together; None for a test that was left out."""

    prompt: float | None
    generate: float | None


class Speed(NamedTuple):
    """Tokens a second over the repetitions."""

    median: float
    min: float
    max: float


class Result(NamedTuple):
    """What was measured with so many sequences side by side."""

    sequences: int
    samples: tuple[Sample, ...]

    @property
    def prompt(self) -> Speed | None:
        return _speed(sample.prompt for sample in self.samples)

    @property
    def generate(self) -> Speed | None:
        return _speed(sample.generate for sample in self.samples)


class Watcher:
    """Told how it goes; does nothing by itself."""

    def loaded(self, model: Model, counts: Sequence[int]) -> None:
        """The model is loaded, and about to be measured with these numbers of sequences."""

    def begin(self, sequences: int, repetition: int) -> None:
        """A repetition begins; the first one, number 1, after a warm-up."""

    def left_out(self, sequences: int) -> None:
        """So many sequences do not fit the memory."""


def parse_counts(text: str) -> tuple[int, ...]:
    """Numbers of sequences, in order and each once, of a list such as `1,2,4`.

    Raises:
        UsageError: not numbers, or none that the engine can run.
    """
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError:
        counts = [0]
    if not 1 <= counts[0] <= counts[-1] <= MAX_PARALLEL:
        raise UsageError(
            f"--parallel {text}", hint=f"give numbers from 1 to {MAX_PARALLEL}, as in 1,4,16"
        )
    return tuple(counts)


def layouts(counts: Iterable[int]) -> list[list[int]]:
    """Sorted numbers of sequences, those together that run on the same layout of the weights."""
    return [list(group) for _, group in groupby(counts, lambda n: n < REPACK_BELOW)]


def measure(
    weights: Weights,
    options: LoadOptions,
    trial: Trial,
    counts: Iterable[int],
    interrupt: Interrupt,
    watcher: Watcher,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[tuple[int, Sample]]:
    """Yield a sample after each repetition, with its number of sequences.

    The model is loaded once for each layout of its weights, with room for the most sequences that
    run on it. A number of sequences that finds no room is left out. `clock` gives seconds.

    Raises:
        SpaceError: there is no room for any of them.
        KeyboardInterrupt: Ctrl-C; what was yielded is true.
        LokalError: as from `Model`.
    """
    trial.check(options.ctx)
    options = options._replace(ctx=options.ctx or trial.n_ctx)
    n_measured = 0
    for group in layouts(counts):
        with _loaded(weights, options._replace(parallel=group[-1]), interrupt) as model:
            watcher.loaded(model, group)
            bench = _Bench(model, trial, clock)
            for sequences in group:
                if not bench.fits(sequences):
                    watcher.left_out(sequences)
                    continue
                n_measured += 1
                bench.warm_up(sequences)
                for repetition in range(1, trial.repetitions + 1):
                    watcher.begin(sequences, repetition)
                    yield sequences, bench.sample(sequences)
    if not n_measured:
        raise SpaceError("the memory has room for none of these numbers of sequences", hint=_LESS)


def _loaded(weights: Weights, options: LoadOptions, interrupt: Interrupt) -> Model:
    try:
        return Model(weights, options, interrupt)
    except SpaceError as error:  # the context is what the tests need: another one is no help
        raise SpaceError(error.message, hint=_LESS) from None


class _Bench:
    """Runs tests through a loaded model."""

    def __init__(self, model: Model, trial: Trial, clock: Callable[[], float]) -> None:
        self._model, self._trial, self._clock = model, trial, clock
        self._random = random.Random(SEED)
        self._ids = count()
        vocabulary = model.vocabulary
        n_tokens = vocabulary.n_tokens
        drawn = self._random.sample(range(n_tokens), min(DRAWN, n_tokens))
        # Control tokens write nothing.
        self._tokens = [token for token in drawn if vocabulary.piece(token)] or drawn

    def fits(self, sequences: int) -> bool:
        """Whether nobody would have to give way to another."""
        shape, trial = self._model.shape, self._trial
        each = max(self._n_prompts(sequences) * trial.prompt, sequences * trial.generate)
        return shape.streams or each + sequences <= shape.n_cells

    def warm_up(self, sequences: int) -> None:
        if self._trial.prompt:
            self._run(1, self._trial.prompt, 1)
        self._run(sequences, 1, WARM_UP)

    def sample(self, sequences: int) -> Sample:
        """Measure once."""
        trial, prompt, generate = self._trial, None, None
        if trial.prompt:
            n_prompts = self._n_prompts(sequences)
            # A token is what asking takes at least; it comes of the last logits of the prompt.
            prompt = n_prompts * trial.prompt / self._run(n_prompts, trial.prompt, 1)
        if trial.generate:
            # The token in front brings the first one, and the last one is not computed.
            generate = sequences * trial.generate / self._run(sequences, 1, trial.generate)
        return Sample(prompt, generate)

    def _n_prompts(self, sequences: int) -> int:
        """As many as fill a batch: more are computed one after another, and no faster."""
        if not self._trial.prompt:
            return 0
        return min(sequences, -(-self._model.shape.n_batch // self._trial.prompt))

    def _run(self, n_requests: int, n_prompt: int, n_generate: int) -> float:
        """Seconds that so many requests take side by side."""
        params = SamplingParams(temperature=0, max_tokens=n_generate, ignore_eos=True)
        # No two are alike, or the engine would compute what they have in common once.
        first = self._random.sample(self._tokens, min(n_requests, len(self._tokens)))
        prompts = (
            (first[n % len(first)], *self._random.choices(self._tokens, k=n_prompt - 1))
            for n in range(n_requests)
        )
        requests = [Request(tokens, params, SEED, str(next(self._ids))) for tokens in prompts]
        asking = iter(requests)
        seconds, start = 0.0, self._clock()
        for _, answer in self._model.answers(lambda _idle: next(asking, None)):
            if answer.error:
                raise answer.error
            seconds = self._clock() - start
        return max(seconds, 1e-9)


def _speed(values: Iterable[float | None]) -> Speed | None:
    known = [value for value in values if value is not None]
    return Speed(statistics.median(known), min(known), max(known)) if known else None
