"""What `llm batch` does once the command line is understood."""

from __future__ import annotations

import contextlib
import gc
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from threading import Timer
from typing import BinaryIO, NamedTuple

from lokal import settings
from lokal.batch.fingerprints import Fingerprints, Made
from lokal.batch.job import Job, JobOptions, Watcher
from lokal.batch.output import Output, OutputOptions, Stream, open_output
from lokal.batch.rows import ReadOptions, Row, read
from lokal.batch.sample import sample
from lokal.cli.fetch import fetched
from lokal.cli.grammar_options import check_end
from lokal.cli.made import made_with
from lokal.cli.output import ReaderGone, Sink, note, open_sink
from lokal.cli.prompt_input import SILENCE, check_text
from lokal.cli.watchers import Sampled, number, watcher
from lokal.engine.interrupt import Interrupt
from lokal.engine.llama import native_log
from lokal.engine.prompt import PromptOptions
from lokal.engine.request import SamplingParams, check_seed
from lokal.errors import BatchError, RefusedError, UsageError
from lokal.loading import LoadOptions
from lokal.model import Model
from lokal.result import Origin, fingerprint
from lokal.settings import Settings, expand
from lokal.weights import Weights, find


class BatchOptions(NamedTuple):
    """What `llm batch` was asked for; `template` is the text of a chat template of the user's."""

    model: str
    input: str | None
    reading: ReadOptions
    output: str | None
    writing: OutputOptions
    job: JobOptions
    logit_bias: tuple[tuple[str, float], ...]
    template: str | None
    load: LoadOptions
    limit: int | None
    sample: int | None
    quiet: bool
    verbose: int
    offline: bool

    @property
    def form(self) -> PromptOptions:
        """How a conversation is to become a prompt."""
        return self.job.form

    @property
    def continues(self) -> bool:
        """Whether a later run can go on where this one ends."""
        to_file = self.output not in (None, "-") and self.sample is None
        return to_file and self.writing.resumable

    def say(self, text: str) -> None:
        """A line for people, unless they want none."""
        if not self.quiet:
            note(text)


def execute(options: BatchOptions) -> int:
    """Open both ends, load, run, report; returns the exit code."""
    # What the user got wrong is said before anything is fetched or loaded.
    SamplingParams(**options.job.sampling)
    check_end(options.job.grammar, options.job.sampling)
    if options.job.seed is not None:
        check_seed(options.job.seed)
    check_text(options.reading.template or "", "the template")
    if options.job.text and options.job.sampling.get("logprobs") is not None:
        raise UsageError("--logprobs are part of the JSON", hint="leave out --text")
    if options.output is None and (options.writing.restart or options.writing.retry_errors):
        raise UsageError("nothing to continue without a file", hint="name one with -o")
    if options.limit is not None and options.writing.retry_errors:
        raise UsageError(
            "--retry-errors needs the whole input, for it takes out every failed row",
            hint="leave --limit out",
        )
    surroundings = settings.load(offline=options.offline)
    source = find(options.model, surroundings)
    with _input(options.input) as (stream, name):
        rows: Iterable[Row] = read(stream, name, options.reading)
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode) and not stream.isatty():
            rows = _awaited(rows, name, options)
        rows = islice(rows, options.limit)
        if options.sample is not None:
            rows = sample(rows, options.sample)
        with _output(options, stream) as output:
            weights = fetched(source, surroundings, options)
            with native_log(note) if options.verbose > 1 else contextlib.nullcontext():
                job = _run(options, weights, surroundings, rows, output, stream)
    return _report(options, job, output)


@contextlib.contextmanager
def _input(path: str | None) -> Iterator[tuple[BinaryIO, str]]:
    """The rows as bytes, and what to call them in messages."""
    if path is None or path == "-":
        if sys.stdin is None or (path is None and sys.stdin.isatty()):
            raise UsageError(
                "there are no rows", hint="name a file, or pipe them in: cat FILE | llm batch MODEL"
            )
        yield sys.stdin.buffer, "standard input"
        return
    try:
        file = expand(path).open("rb")
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", hint="check the name of the input"
        ) from None
    yield file, path
    # Not after a failure: the reading thread may be waiting in a pipe, and closing for that thread.
    file.close()


def _awaited(rows: Iterable[Row], name: str, options: BatchOptions) -> Iterator[Row]:
    """Rows of a pipe; where the first one is a while in coming, nobody is to stare at a hang."""
    notice = Timer(SILENCE, options.say, [f"note: waiting for rows from {name}"])
    notice.daemon = True
    notice.start()
    try:
        for row in rows:
            notice.cancel()
            yield row
    finally:
        notice.cancel()


def _stream(sink: Sink, options: BatchOptions) -> Stream:
    unordered, by_place = options.writing.unordered, not options.writing.resumable
    return Stream(sink.line, unordered=unordered, by_place=by_place)


@contextlib.contextmanager
def _output(options: BatchOptions, stream: BinaryIO) -> Iterator[Output]:
    if options.sample is not None:
        yield Stream(lambda _: None)
    elif options.output is None or options.output == "-":
        with open_sink(None) as sink, _stream(sink, options) as out:
            yield out
    else:
        with open_output(options.output, options.writing, os.fstat(stream.fileno())) as out:
            try:
                yield out
            except BrokenPipeError:  # a named pipe
                raise ReaderGone from None


def _run(
    options: BatchOptions,
    weights: Weights,
    surroundings: Settings,
    rows: Iterable[Row],
    output: Output,
    stream: BinaryIO,
) -> Job:
    interrupt = Interrupt()
    with Model(weights, options.load, interrupt) as model:
        for line in model.notes:
            options.say(f"note: {line}")
        if options.verbose:
            note(model.description)
        _try_template(model, options)
        bias = model.logit_bias(options.logit_bias)
        sampling = {**options.job.sampling, "logit_bias": bias}
        options = options._replace(job=options.job._replace(sampling=sampling))
        made = _made(options, model, surroundings)
        fingerprints = Fingerprints(surroundings.state_dir)
        fingerprints.check(options.output or "", output.earlier, made)
        fingerprints.remember(made)
        origin = Origin(made.model, made.weights, made.fingerprint, model.load_seconds)
        eyes = _watcher(options, surroundings, stream)
        job = Job(model, origin, output, options.job, eyes)
        gc.freeze()  # what a start left behind stays, so that no collection scans it
        gc.enable()
        # Ctrl-C waits for a place where no row is half written.
        with interrupt.listening(), eyes:
            output.begin()
            try:
                job.run(rows)
            except KeyboardInterrupt:
                if options.continues:
                    options.say("note: stopped; the same command goes on from here")
                raise
    return job


def _try_template(model: Model, options: BatchOptions) -> None:
    """Raises: LoadError: the chat template is broken, and would be for every row."""
    with contextlib.suppress(RefusedError):  # this conversation it refuses, others perhaps not
        model.format(options.form).build([{"role": "user", "content": "?"}])


def _made(options: BatchOptions, model: Model, surroundings: Settings) -> Made:
    job, weights = options.job, model.weights
    made = made_with(
        weights,
        options.load,
        model.sampling(**job.sampling),
        form=job.form,
        system=options.reading.system,
        grammar=job.grammar,
        surroundings=surroundings,
    )
    if options.reading.template is not None:
        made["template"] = options.reading.template
    digest = f"sha256:{weights.sha256(surroundings)}"
    return Made(weights.name, digest, fingerprint(made), made)


def _watcher(options: BatchOptions, surroundings: Settings, stream: BinaryIO) -> Watcher:
    if options.sample is not None:
        return Sampled()
    if options.quiet:
        return Watcher()
    status = os.fstat(stream.fileno())
    size = status.st_size if stat.S_ISREG(status.st_mode) and not options.limit else None
    return watcher(surroundings, size, to_stdout=options.output in (None, "-"))


def _report(options: BatchOptions, job: Job, output: Output) -> int:
    """What came of it, as a line for people and as the exit code."""
    counts = job.counts
    if output.changed:
        options.say(
            f"note: the input has changed in {number(output.changed)} that an earlier run did;"
            " their answers stay, --restart begins anew"
        )
    if output.unclaimed and options.limit is None:
        options.say(
            f"note: {options.output} has {number(output.unclaimed)} more, of which the input has no"
            " row now, or another one"
        )
    if output.retried > counts.done:
        gone = number(output.retried - counts.done)
        options.say(f"note: not in the input any more, and taken out: {gone} that had failed")
    if counts.cut:
        cut = "1 answer was" if counts.cut == 1 else f"{counts.cut} answers were"
        options.say(f"note: {cut} cut at the token limit or the context's end")
    failed = counts.failed + output.earlier.failed
    if not failed:
        return 0
    if options.sample is not None:
        hint = "what was wrong stands with each of them"
    elif options.job.text:
        hint = "without --text their lines say why"
    else:
        retry = "; --retry-errors tries them again" if options.continues else ""
        hint = f"their lines say why{retry}"
    raise BatchError(f"{failed} of {number(counts.done + output.earlier.rows)} failed", hint=hint)
