"""Reasoning told from the answer, piece by piece, wherever tokens cut what marks it.

A splitter takes the bytes of one token after another and gives parts: bytes, and whether they are
reasoning. What could still become a mark waits; nothing else does. Where marks are tokens of their
own (`Reasoning.exact`) nothing else is a mark; else one counts whether a token is named like it,
as control tokens are, or its text is written.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
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
        return _TagSplitter(reasoning.rule, reasoning)
    return _ChannelSplitter(reasoning.rule, reasoning)


# In front of marks that are tokens. No text has this byte, so none that is spelled looks like it.
_TOKEN = b"\xff"


def _searched(piece: bytes, name: bytes, marks: Container[bytes], front: bytes) -> bytes:
    """What of a token is searched for marks: its bytes, or `front` and the mark that it is."""
    said = name or piece
    return front + said if said in marks else piece


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

    def __init__(self, rule: Tags, reasoning: Reasoning) -> None:
        self._front = _TOKEN if reasoning.exact else b""
        self._open, self._close = rule.open.encode(), rule.close.encode()
        end, self._held = reasoning.prompt.rstrip(), b""
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
        marks = {_UNDECIDED: (self._open,), _REASONING: (self._close,)}.get(self._state, ())
        data = self._held + _searched(piece, name, marks, self._front)
        parts: Parts = []
        if self._state == _UNDECIDED:
            begin, opening = data.lstrip(), self._front + self._open
            if begin.startswith(opening):
                self._state, data = _REASONING, begin[len(opening) :]
            elif not opening.startswith(begin):
                self._state = _ANSWER
        if self._state == _REASONING:
            if not self._begun:
                data = data.lstrip()
            closing = self._front + self._close
            thought, close, rest = data.partition(closing)
            if close:
                self._state, data = _GAP, rest
            else:
                size = len(data) - overlap(data, closing)
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


_START, _CHANNEL, _MESSAGE, _END = (mark.encode() for mark in Channels().marks)
# What a header may go on with, once it is said whose message it is.
_HEADER = (_START, _CHANNEL, _MESSAGE, b"<|constrain|>")
# What ends a message, unless it is the last one: some models forget its end.
_ENDS = (_END, _START, _CHANNEL)
_WORD = rb"\s*([^\s<\xff]*)"
# Whom a message is to, which may stand in front of all that, or as much as there is of it.
_RECIPIENT = re.compile(rb"^t(o(=[^\s<\xff]*\s*)?)?")
_LAST = (b"final", b"")


class _ChannelSplitter:
    """Headers are never shown; messages of one kind are parted by an empty line."""

    def __init__(self, rule: Channels, reasoning: Reasoning) -> None:
        self._channels = {name.encode() for name in rule.reasoning}
        self._front = _TOKEN if reasoning.exact else b""
        self._header, self._ends = ([self._front + m for m in marks] for marks in (_HEADER, _ENDS))
        self._role, self._name = (
            re.compile(re.escape(self._front + mark) + _WORD) for mark in (_START, _CHANNEL)
        )
        self._held = b""
        self._channel: bytes | None = None  # of the message whose text comes now
        self.over = False
        self._begun = False  # there was a message, if only its header
        self._said: set[bool] = set()  # kinds of text that there were in earlier messages
        self._fresh = True  # nothing of this message has come out
        _, _, begun = reasoning.prompt.rpartition(_START.decode())
        if begun != reasoning.prompt:  # a message: what follows its role is for us to know
            text = re.sub(r"^[^\s<]*", "", begun).encode("utf-8", "surrogateescape")
            marks = b"|".join(map(re.escape, {*_HEADER, *_ENDS}))
            self._held = re.sub(marks, lambda mark: self._front + mark[0], text)
            list(self._parts())
            self._begun, self._said = False, set()
            if self._channel is not None:
                self._held = b""

    @property
    def undecided(self) -> bool:
        return self._channel is None and not self._held and not self._begun

    @property
    def reasoning(self) -> bool:
        return self._channel in self._channels

    @property
    def answering(self) -> bool:
        return self._channel is not None and not self.reasoning

    def push(self, piece: bytes, name: bytes = b"") -> Parts:
        if self._channel in _LAST and (name or piece) in (_END, _START):
            # Spelled in several tokens it is text; histories end a message with this one.
            self.over = True
        if self.over:
            return []
        if self._channel in _LAST:
            return list(self._told(piece))
        marks = _HEADER if self._channel is None else _ENDS
        self._held += _searched(piece, name, marks, self._front)
        return list(self._parts())

    def _parts(self) -> Iterator[tuple[bytes, bool]]:
        while self._held and not self.over:
            if self._channel is None:
                self._read_header()
                if self._channel is None:
                    return
            elif self._channel in _LAST:
                yield from self._told(self._held)
                self._held = b""
            else:
                places = [at for mark in self._ends if (at := self._held.find(mark)) >= 0]
                size = len(self._held) - max(overlap(self._held, mark) for mark in self._ends)
                at = min(places, default=size)
                yield from self._told(self._held[:at])
                self._held = self._held[at:]
                if not places:
                    return
                self._held = self._held.removeprefix(self._front + _END)
                self._channel = None

    def _read_header(self) -> None:
        """Begin the message whose header is held, or an answer that has none."""
        begin = self._held.lstrip()
        if self._begun:  # whitespace between messages is nobody's
            self._held = begin
        after = _RECIPIENT.sub(b"", begin)
        if any(after.startswith(mark) or mark.startswith(after) for mark in self._header):
            header, mark, rest = begin.partition(self._front + _MESSAGE)
            if not mark:
                return
            role, channel = self._role.match(header), self._name.search(header)
            if role and role[1] not in (b"assistant", b""):
                # It writes somebody else's message: its own are over.
                self.over, self._held = True, b""
                return
            self._held = rest
            self._begin(channel[1] if channel else b"")
        else:
            self._begin(b"")

    def _begin(self, channel: bytes) -> None:
        self._channel, self._fresh, self._begun = channel, True, True

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
        if self._channel is None:
            if any(mark in held for mark in self._header):
                return []
            self._begin(b"")
        return list(self._told(held))
