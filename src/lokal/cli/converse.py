"""What `llm chat` does once the command line is understood."""

from __future__ import annotations

import contextlib
import gc
import sys
from functools import partial

from lokal import settings
from lokal.cli.fetch import fetched
from lokal.cli.output import Sink, note, open_sink
from lokal.cli.repl import from_pipe, with_person
from lokal.cli.session import ChatOptions, Session
from lokal.cli.transcripts import Transcript, last_path, read
from lokal.cli.views import Drawn, Plain, View
from lokal.engine.interrupt import Interrupt
from lokal.engine.llama import native_log
from lokal.engine.request import SamplingParams, check_seed
from lokal.errors import UsageError
from lokal.model import Model
from lokal.settings import Settings
from lokal.weights import Weights, find


def execute(options: ChatOptions) -> int:
    """Load, converse; returns the exit code."""
    # What the user got wrong is said before anything is fetched or loaded.
    SamplingParams(**options.sampling)
    if options.seed is not None:
        check_seed(options.seed)
    surroundings = settings.load(offline=options.offline)
    last = _last(surroundings) if options.resume else None
    source = find(options.model, surroundings)
    weights = fetched(source, surroundings, options)
    log = native_log(note) if options.verbose > 1 else contextlib.nullcontext()
    interrupt = Interrupt()
    load = partial(_load, options, interrupt)
    with log, open_sink(None) as sink:
        view = _view(options, surroundings, sink)
        session = Session(options, surroundings, load, weights, view, interrupt)
        with contextlib.closing(session):
            session.check(session.form, session.sampling)
            if last:
                session.resume(last)
            gc.freeze()  # what a start left behind stays, so that no collection scans it
            gc.enable()
            return with_person(session) if session.at_terminal else from_pipe(session)


def _last(surroundings: Settings) -> Transcript:
    path = last_path(surroundings.state_dir)
    if not path.exists():
        raise UsageError(
            "there is no conversation to continue", hint="leave out --continue to begin one"
        )
    return read(path)


def _load(options: ChatOptions, interrupt: Interrupt, weights: Weights) -> Model:
    model = Model(weights, options.load._replace(keep=True), interrupt)
    for line in model.notes:
        options.say(f"note: {line}")
    return model


def _view(options: ChatOptions, surroundings: Settings, sink: Sink) -> View:
    if options.markdown and sys.stdout.isatty():
        return Drawn(sink, surroundings)
    if options.markdown:
        options.say("note: --markdown draws on a terminal only; the answers stay as they are")
    return Plain(sink)
