"""One answer of a conversation: written as it comes."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

from lokal.cli.aside import Aside
from lokal.cli.views import View
from lokal.completion import Completion, completion
from lokal.engine.chat import Message
from lokal.engine.prompt import PromptFormat
from lokal.engine.request import Event, FinishEvent, Request
from lokal.errors import LokalError
from lokal.model import Model


class Reply(NamedTuple):
    """What came of a request; `interrupted` says that Ctrl-C ended it."""

    answer: Completion
    interrupted: bool

    @property
    def is_one(self) -> bool:
        """Whether it is worth a turn: there are words, or the model ended it without any."""
        return bool(self.answer.text) or not (self.interrupted or self.answer.error)


def reply(model: Model, request: Request, view: View, aside: Aside) -> Reply:
    """Ask, and write the answer as it comes; how it ended is for the caller to tell."""
    events: list[Event] = []
    drop_space = request.drop_space and request.reasoning is None
    if drop_space:
        request = request._replace(drop_space=False)  # `as_written` decides about it
    interrupted = False
    try:
        with contextlib.closing(model.events(request)) as stream:
            for event in stream:
                events.append(event)
                if isinstance(event, FinishEvent):
                    continue
                if event.reasoning:
                    aside.write(event.text)
                elif event.text:
                    aside.end()
                    drop = drop_space and not view.begun
                    view.write(event.text.removeprefix(" ") if drop else event.text)
    except KeyboardInterrupt:  # after the final event, however often the key was pressed
        interrupted = True
    finally:
        aside.end()
        if view.begun:
            view.end()
    made = Reply(completion(request, events), interrupted)
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
