"""A batch under way: rows in, requests to the model, one line for every finished row."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple, Self

from lokal.batch.feed import Feed
from lokal.batch.output import Output
from lokal.batch.rows import Row
from lokal.completion import Completion, failed
from lokal.engine.constraint import Grammar
from lokal.engine.prompt import PromptFormat, PromptOptions
from lokal.engine.request import FinishReason, Request
from lokal.errors import BatchError, LokalError
from lokal.model import Model
from lokal.result import Origin, as_dict

# Rows between the oldest one that is not finished and the newest; they bound what has to wait.
WINDOW = 1024


class JobOptions(NamedTuple):
    """What holds for every row that does not say otherwise; `max_errors` ends the job."""

    sampling: dict[str, Any]
    seed: int | None = None
    grammar: Grammar | None = None
    form: PromptOptions = PromptOptions()
    text: bool = False
    """Write just the answers, one a line, with their newlines escaped."""
    max_errors: int | None = None


class Counts:
    """How far a job is."""

    def __init__(self) -> None:
        self.done = 0
        """Rows finished by this run; `failed` of them failed, `cut` reached a length limit."""
        self.failed = 0
        self.cut = 0
        self.skipped = 0
        """Rows that an earlier run finished."""
        self.taken = 0
        """All rows of the input so far; `end` is where the last one of them ends, in bytes."""
        self.end = 0
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.completion_tokens = 0
        """Of finished rows; `generated` are those of all, aborted ones included."""
        self.generated = 0


class Watcher:
    """Is told how a job goes; this one does nothing with it. A context manager around the job."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """The job has ended, by an exception of this kind if it is not None."""

    def row(self, row: Row, answer: Completion, counts: Counts) -> None:
        """A row is finished."""

    def moved(self, counts: Counts) -> None:
        """The model has computed another batch of tokens."""

    def skip(self, counts: Counts) -> None:
        """A row was finished by an earlier run."""


class Job:
    """One run over an input. `output` has begun."""

    def __init__(
        self,
        model: Model,
        origin: Origin,
        output: Output,
        options: JobOptions,
        watcher: Watcher | None = None,
    ) -> None:
        self.counts = Counts()
        self._model = model
        self._origin = origin
        self._output = output
        self._options = options
        self._watcher = watcher or Watcher()
        self._format: PromptFormat = model.format(options.form)
        self._under_way: dict[str, tuple[Row, int]] = {}
        self._window: deque[int] = deque()  # tickets from the oldest unfinished one on
        self._unfinished: set[int] = set()

    def run(self, rows: Iterable[Row]) -> None:
        """Finish every row.

        Raises:
            BatchError: more rows failed than `max_errors`.
            UsageError: the input cannot be read.
            SpaceError: the output cannot be written, or there is no memory.
            KeyboardInterrupt: Ctrl-C; what is finished is written.
        """
        feed = Feed(rows, self._model.check_interrupt)

        def take(idle: bool) -> Request | None:
            while self._has_room():
                row = feed.get(wait=idle)
                if row is None:
                    return None
                request = self._begin(row)
                if request:
                    return request
            return None

        before = self._model.n_sampled

        def moved() -> None:
            self.counts.generated = self._model.n_sampled - before
            self._watcher.moved(self.counts)

        for request, answer in self._model.answers(take, moved):
            self._finish(*self._under_way.pop(request.id), answer)

    def _has_room(self) -> bool:
        """Whether another row may begin; rows that wait since an earlier run do not count."""
        window = self._window
        while window and window[0] not in self._unfinished:
            window.popleft()
        return len(window) < WINDOW or not self._output.waiting

    def _begin(self, row: Row) -> Request | None:
        """The request of a row; None if there is nothing to compute for it."""
        self.counts.taken += 1
        self.counts.end = row.end
        if self._output.done(row.index, row.id, row.digest):
            self.counts.skipped += 1
            self._watcher.skip(self.counts)
            return None
        ticket = self._output.ticket()
        self._window.append(ticket)
        self._unfinished.add(ticket)
        try:
            request = self._request(row)
        except LokalError as error:
            seed = self._options.seed if row.seed is None else row.seed
            self._finish(row, ticket, failed(error, seed))
            return None
        self._under_way[request.id] = row, ticket
        return request

    def _request(self, row: Row) -> Request:
        if row.error:
            raise row.error
        options, model = self._options, self._model
        prompt = self._format.build(row.messages)
        params = model.sampling(**(options.sampling | dict(row.overrides)))
        seed = options.seed if row.seed is None else row.seed
        return model.request(prompt, params, seed, row.grammar or options.grammar)

    def _finish(self, row: Row, ticket: int, answer: Completion) -> None:
        error = answer.error
        if error and error is not row.error:
            located = type(error)(f"line {row.line}: {error.message}", hint=error.hint)
            answer = answer._replace(error=located)
        self._output.put(ticket, self._line(row, answer))
        self._unfinished.remove(ticket)
        counts = self.counts
        counts.done += 1
        counts.failed += answer.error is not None
        counts.cut += answer.finish_reason is FinishReason.LENGTH
        counts.prompt_tokens += answer.usage.prompt_tokens
        counts.cached_tokens += answer.usage.cached_tokens
        counts.completion_tokens += answer.usage.completion_tokens
        self._watcher.row(row, answer, counts)
        limit = self._options.max_errors
        if limit is not None and counts.failed > limit:
            raise BatchError(
                f"more rows failed than --max-errors {limit} allows",
                hint=f"the last one: {answer.error}; without it every row is tried",
            )

    def _line(self, row: Row, answer: Completion) -> bytes:
        if self._options.text:
            text = "" if answer.error else answer.text
            return (escaped(text) + "\n").encode()
        result = {
            "id": row.id,
            "index": row.index,
            **as_dict(answer, self._origin),
            "input_hash": row.digest,
        }
        return json.dumps(result, ensure_ascii=False).encode() + b"\n"


def escaped(text: str) -> str:
    r"""A text on one line: a newline is \n, a carriage return \r, a backslash is doubled."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
