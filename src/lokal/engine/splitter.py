"""Reasoning told from the answer, piece by piece, wherever tokens cut what marks it.

A splitter takes the bytes of one token after another and gives parts: bytes, and whether they are
reasoning. What could still become a mark waits; nothing else does. A mark counts whether a token
is named like it, as control tokens are, or its text is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

from lokal.engine.detokenizer import overlap
from lokal.engine.reasoning import Channels, Reasoning, Tags

Parts = list[tuple[bytes, bool]]


class Splitter(Protocol):
    """Follows one answer from its beginning."""

    @property
    def undecided(self) -> bool:
        """Whether the model has yet to show if it reasons."""

    @property
    def reasoning(self) -> bool:
        """Whether what comes now is reasoning."""

    @property
    def answering(self) -> bool:
        """Whether what comes now is the answer."""

    @property
    def over(self) -> bool:
        """Whether the answer has come to an end that its format marks."""

    def push(self, piece: bytes, name: bytes = b"") -> Parts:
        """Take what a token writes; `name` is a control token's, which writes nothing."""

    def close(self) -> Parts:
        """End the reasoning, as if the model had; gives what was held back."""

    def settle(self) -> None:
        """Take all that comes as the answer, to the byte, unless the model reasons now."""

    def flush(self) -> Parts:
        """What was held back, at the end."""


def splitter(reasoning: Reasoning | None) -> Splitter:
    """For the answer to one prompt; without `reasoning` all of it is the answer."""
    if reasoning is None:
        return _WholeAnswer()
    if isinstance(reasoning.rule, Tags):
        return _TagSplitter(reasoning.rule, reasoning.prompt)
    return _ChannelSplitter(reasoning.rule, reasoning.prompt)


class _WholeAnswer:
    undecided = reasoning = over = False
    answering = True

    def push(self, piece: bytes, _name: bytes = b"") -> Parts:
        return [(piece, False)]

    def close(self) -> Parts:
        return []

    def settle(self) -> None:
        pass

    def flush(self) -> Parts:
        return []


_UNDECIDED, _REASONING, _GAP, _ANSWER = range(4)


class _TagSplitter:
    """Whitespace after either tag is dropped: it belongs to the marks, as templates write them."""

    over = False

    def __init__(self, rule: Tags, prompt: str) -> None:
        self._open, self._close = rule.open.encode(), rule.close.encode()
        end, self._held = prompt.rstrip(), b""
        opened, closed = end.endswith(rule.open), end.endswith(rule.close)
        self._state = _REASONING if opened else _GAP if closed else _UNDECIDED
        self._begun = False  # there was more in the reasoning than whitespace

    @property
    def undecided(self) -> bool:
        return self._state == _UNDECIDED

    @property
    def reasoning(self) -> bool:
        return self._state == _REASONING

    @property
    def answering(self) -> bool:
        return self._state in (_GAP, _ANSWER)

    def push(self, piece: bytes, name: bytes = b"") -> Parts:
        mark = {_UNDECIDED: self._open, _REASONING: self._close}.get(self._state)
        data = self._held + (name if name == mark else piece)
        parts: Parts = []
        if self._state == _UNDECIDED:
            begin = data.lstrip()
            if begin.startswith(self._open):
                self._state, data = _REASONING, begin[len(self._open) :]
            elif not self._open.startswith(begin):
                self._state = _ANSWER
        if self._state == _REASONING:
            if not self._begun:
                data = data.lstrip()
            thought, close, rest = data.partition(self._close)
            if close:
                self._state, data = _GAP, rest
            else:
                size = len(data) - overlap(data, self._close)
                thought, data = data[:size], data[size:]
            if thought:
                self._begun = True
                parts.append((thought, True))
        if self._state == _GAP and (data := data.lstrip()):
            self._state = _ANSWER
        if self._state == _ANSWER and data:
            parts.append((data, False))
            data = b""
        self._held = data
        return parts

    def close(self) -> Parts:
        parts, self._state = self.flush(), _GAP
        return parts

    def settle(self) -> None:
        if self._state != _REASONING:
            self._state = _ANSWER

    def flush(self) -> Parts:
        held, self._held = self._held, b""
        return [(held, self.reasoning)] if held else []


_START, _CHANNEL, _MESSAGE, _END = b"<|start|>", b"<|channel|>", b"<|message|>", b"<|end|>"
_NAMES = {_START, _CHANNEL, _MESSAGE, _END, b"<|constrain|>"}
# What a header may go on with, once it is said whose message it is.
_HEADER = (_START, _CHANNEL, _MESSAGE, b"<|constrain|>", b"to=")
# What ends a message, unless it is the last one.
_MARKS = (_END, _START, _CHANNEL)
_LAST = (b"final", b"")


class _ChannelSplitter:
    """Headers are never shown; messages of one kind are parted by an empty line."""

    def __init__(self, rule: Channels, prompt: str) -> None:
        self._channels = {name.encode() for name in rule.reasoning}
        self._held = b""
        self._channel: bytes | None = None  # of the message whose text comes now
        self.over = False
        self._said: set[bool] = set()  # kinds of text that there were in earlier messages
        self._fresh = True  # nothing of this message has come out
        _, _, begun = prompt.rpartition(_START.decode())
        if begun != prompt:  # a message: what follows its role is for us to know
            self.push(re.sub(r"^[^\s<]*", "", begun).encode("utf-8", "surrogateescape"))
            self._said.clear()
            if self._channel is not None:
                self._held = b""

    @property
    def undecided(self) -> bool:
        return self._channel is None and not self._held and not self._said

    @property
    def reasoning(self) -> bool:
        return self._channel in self._channels

    @property
    def answering(self) -> bool:
        return self._channel is not None and not self.reasoning

    def push(self, piece: bytes, name: bytes = b"") -> Parts:
        if self._channel in _LAST:
            # Spelled in several tokens it is text; histories end a message with this one.
            self.over = self.over or (name or piece) in (_END, _START)
            return [] if self.over else list(self._told(piece))
        self._held += name if name in _NAMES else piece
        return list(self._parts())

    def _parts(self) -> Iterator[tuple[bytes, bool]]:
        while self._held:
            if self._channel is None:
                begin = self._held.lstrip()
                if any(begin.startswith(mark) or mark.startswith(begin) for mark in _HEADER):
                    header, mark, rest = begin.partition(_MESSAGE)
                    if not mark:
                        return
                    found = re.search(rb"<\|channel\|>\s*([^\s<]*)", header)
                    self._begin(found[1] if found else b"")
                    self._held = rest
                else:
                    self._begin(b"")  # an answer that has no header
            elif self._channel in _LAST:
                yield from self._told(self._held)
                self._held = b""
            else:
                # A model that forgets to end a message begins the next one all the same.
                places = [at for mark in _MARKS if (at := self._held.find(mark)) >= 0]
                size = len(self._held) - max(overlap(self._held, mark) for mark in _MARKS)
                at = min(places, default=size)
                yield from self._told(self._held[:at])
                self._held = self._held[at:]
                if not places:
                    return
                self._held = self._held.removeprefix(_END)
                self._channel = None

    def _begin(self, channel: bytes) -> None:
        self._channel, self._fresh = channel, True

    def _told(self, text: bytes) -> Iterator[tuple[bytes, bool]]:
        if text:
            if self._fresh and self.reasoning in self._said:
                text = b"\n\n" + text
            self._fresh = False
            self._said.add(self.reasoning)
            yield text, self.reasoning

    def close(self) -> Parts:
        parts = self.flush()
        self._begin(b"final")
        return parts

    def settle(self) -> None:
        if self.undecided or self.answering:
            self._channel = b"final"

    def flush(self) -> Parts:
        held, self._held = self._held, b""
        if self._channel is None and (self._said or held.lstrip().startswith(_HEADER)):
            return []
        return list(self._told(held))
