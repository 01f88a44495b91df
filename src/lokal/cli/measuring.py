"""What `llm bench` does once the command line is understood."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Sequence
from typing import NamedTuple

from lokal import settings
from lokal.bench import Result, Sample, Trial, Watcher, measure
from lokal.cli.bar import INTERVAL, Bar, drawable
from lokal.cli.fetch import fetched
from lokal.cli.output import note, write_json, write_lines
from lokal.cli.speeds import Facts, as_dict, lines
from lokal.engine import build
from lokal.engine.interrupt import Interrupt
from lokal.engine.llama import native_log
from lokal.engine.prompt import PromptOptions
from lokal.loading import LoadOptions
from lokal.model import Model
from lokal.settings import Settings
from lokal.weights import Weights, find


class BenchOptions(NamedTuple):
    """What `llm bench` was asked for; `counts` are numbers of sequences, sorted."""

    model: str
    trial: Trial
    counts: tuple[int, ...]
    load: LoadOptions
    json: bool
    quiet: bool
    verbose: int
    offline: bool
    form: PromptOptions = PromptOptions(raw=True)  # prompts are tokens, and need no template
    template: str | None = None


def execute(options: BenchOptions) -> int:
    """Load, measure, print; after Ctrl-C what there is.

    Raises:
        KeyboardInterrupt: Ctrl-C, once it is printed.
    """
    options.trial.check(options.load.ctx)  # before anything is fetched
    surroundings = settings.load(offline=options.offline)
    n_ctx = options.load.ctx or options.trial.n_ctx
    wanted = options._replace(load=options.load._replace(ctx=n_ctx))
    weights = fetched(find(options.model, surroundings), surroundings, wanted)
    # The checksum may take a while, and Ctrl-C is to end it at once.
    facts = _facts(options, weights, surroundings if options.json else None)
    samples: dict[int, list[Sample]] = {}
    progress = _progress(options, surroundings)
    try:
        _measure(options, weights, samples, progress)
    except KeyboardInterrupt:
        _print(options, facts._replace(device=progress.device), samples)
        raise
    _print(options, facts._replace(device=progress.device), samples)
    return 0


def _measure(
    options: BenchOptions, weights: Weights, samples: dict[int, list[Sample]], progress: Progress
) -> None:
    gc.freeze()  # what a start left behind stays, so that no collection scans it
    gc.enable()
    log = native_log(note) if options.verbose > 1 else contextlib.nullcontext()
    with log, progress:
        for sequences, sample in measure(
            weights, options.load, options.trial, options.counts, Interrupt(), progress
        ):
            samples.setdefault(sequences, []).append(sample)


def _print(options: BenchOptions, facts: Facts, samples: dict[int, list[Sample]]) -> None:
    results = [Result(sequences, tuple(each)) for sequences, each in samples.items()]
    if options.json:
        write_json(as_dict(facts, options.trial, results))
    elif results:
        write_lines(lines(facts, options.trial, results))


def _facts(options: BenchOptions, weights: Weights, hashed_with: Settings | None) -> Facts:
    header = weights.header
    return Facts(
        model=weights.name,
        weights=f"sha256:{weights.sha256(hashed_with)}" if hashed_with else "",
        size=max(header.file_size, header.weights_bytes),  # of a split model: all shards
        parameters=header.parameters,
        quantization=header.quantization,
        device="",
        threads=options.load.native_threads(),
        llama_cpp=f"{build.llama_version()} (llama-cpp-python {build.version()})",
    )


def _progress(options: BenchOptions, surroundings: Settings) -> Progress:
    if options.quiet:
        return Progress(options)
    return BarProgress(options) if drawable(surroundings) else LineProgress(options)


class Progress(Watcher):
    """Says what people must know, and nothing if they want none of it."""

    def __init__(self, options: BenchOptions) -> None:
        self._options = options
        self._counts: dict[str, list[int]] = {}  # by device
        self._told: set[str] = set()

    @property
    def device(self) -> str:
        """What it runs on, nothing until it is loaded; loads may differ in what finds room."""
        if len(self._counts) < 2:
            return "".join(self._counts)
        return "; ".join(f"{name} for {_sequences(n)}" for name, n in self._counts.items())

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def loaded(self, model: Model, counts: Sequence[int]) -> None:
        self._counts.setdefault(model.device, []).extend(counts)
        for line in model.notes:
            if line not in self._told:  # by an earlier load
                self._told.add(line)
                self.say(f"note: {line}")
        if self._options.verbose:
            took = f"loaded in {model.load_seconds:.2f} s for {_sequences(counts)}"
            self._say(f"{took}: {model.description}")

    def left_out(self, sequences: int) -> None:
        self.say(f"note: {_sequences([sequences])} left out, the memory has no room for them")

    def say(self, text: str) -> None:
        """A line for people, unless they want none."""
        if not self._options.quiet:
            self._say(text)

    def _say(self, text: str) -> None:
        note(text)


class LineProgress(Progress):
    """A line every few seconds."""

    def __init__(self, options: BenchOptions) -> None:
        super().__init__(options)
        self._told_at = time.monotonic()

    def begin(self, sequences: int, repetition: int) -> None:
        now = time.monotonic()
        if now - self._told_at >= INTERVAL:
            self._told_at = now
            self.say(_step(sequences, repetition, self._options.trial))


class BarProgress(Progress):
    """A bar."""

    def __enter__(self) -> BarProgress:
        total = len(self._options.counts) * self._options.trial.repetitions
        self._bar = Bar("loading", total)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, sequences: int, repetition: int) -> None:
        before = self._options.counts.index(sequences) * self._options.trial.repetitions
        text = _step(sequences, repetition, self._options.trial)
        self._bar.update(text, before + repetition - 1)

    def _say(self, text: str) -> None:
        self._bar.say(text)


def _step(sequences: int, repetition: int, trial: Trial) -> str:
    return f"{_sequences([sequences])}, {repetition} of {trial.repetitions}"


def _sequences(counts: Sequence[int]) -> str:
    """So many sequences: 1 sequence, 2 sequences, 1, 2 and 4 sequences."""
    *first, last = map(str, counts)
    many = f"{', '.join(first)} and {last}" if first else last
    return f"{many} sequence{'' if many == '1' else 's'}"
