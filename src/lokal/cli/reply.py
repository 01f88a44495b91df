"""One answer, written as it comes: the whole of a run, or a turn of a conversation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from lokal.cli.aside import Aside
from lokal.completion import Completion, completion
from lokal.engine.chat import Message
from lokal.engine.prompt import PromptFormat
from lokal.engine.request import Event, FinishEvent, Request
from lokal.errors import LokalError
from lokal.model import Model

if TYPE_CHECKING:
    from lokal.cli.views import View


class Reply(NamedTuple):
    """What came of a request; `interrupted` says that Ctrl-C ended it."""

    answer: Completion
    interrupted: bool

    @property
    def is_one(self) -> bool:
        """Whether it is worth a turn: there are words, or the model ended it without any."""
        return bool(self.answer.text) or not (self.interrupted or self.answer.error)


def follow(
    request: Request, events: Iterable[Event], write: Callable[[str], object], aside: Aside
) -> Reply:
    """Write the answer as it comes; Ctrl-C ends it and keeps what was written.

    Raises:
        KeyboardInterrupt: a second Ctrl-C, in the middle of our own work.
    """
    seen: list[Event] = []
    interrupted = False
    try:
        for event in events:
            seen.append(event)
            if isinstance(event, FinishEvent):
                continue
            if event.reasoning:
                aside.write(event.text)
            elif event.text:
                aside.end()
                write(event.text)
    except KeyboardInterrupt:
        if not (seen and isinstance(seen[-1], FinishEvent)):
            raise
        interrupted = True
    finally:
        aside.end()
    return Reply(completion(request, seen), interrupted)


def reply(model: Model, request: Request, view: View, aside: Aside) -> Reply:
    """Ask for a turn's answer and write it; how it ended is for the caller to tell."""
    drop_space = request.drop_space and request.reasoning is None
    if drop_space:
        request = request._replace(drop_space=False)  # `as_written` decides about it

    def write(text: str) -> None:
        view.write(text.removeprefix(" ") if drop_space and not view.begun else text)

    try:
        with contextlib.closing(model.events(request)) as events:
            made = follow(request, events, write, aside)
    finally:
        if view.begun:
            view.end()
    if made.is_one and not made.answer.text:
        view.end()  # an answer without a word has its line too
    return made


def as_written(text: str, model: Model, format_: PromptFormat, asked: Sequence[Message]) -> str:
    """The answer with the space that it begins with, if the next prompt is to have it.

    Templates and vocabularies put one in front again, or do not. Where the prompt is not what the
    model wrote, the whole answer is computed again.
    """
    bare = text.removeprefix(" ")

    def n_cached(text: str) -> int:
        return model.n_cached(format_.build([*asked, {"role": "assistant", "content": text}]))

    with contextlib.suppress(LokalError):
        return bare if bare == text else max((bare, text), key=n_cached)
    return bare
