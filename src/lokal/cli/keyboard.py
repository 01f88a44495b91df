"""The line editor at the prompt; the one place that imports prompt_toolkit."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import create_output
from prompt_toolkit.output.vt100 import Vt100_Output

from lokal.cli.message import unfinished
from lokal.cli.slash import COMMANDS, arguments

PROMPT, CONTINUED = ">>> ", "... "
LONGEST = 10_000  # characters of what is remembered; a book that was pasted once is not typed again


class Keyboard:
    """Reads messages of any number of lines; `history` is a file, None for none.

    `say` is told, once, if nothing can be added to that file.
    """

    def __init__(self, history: Path | None, say: Callable[[str], object]) -> None:
        self.was_idle = False
        """Whether the last message was left with nothing typed."""
        self._typed = _Typed(str(history)) if history else None
        self._say = say
        kept: History = self._typed or InMemoryHistory()
        # Where answers go to a file, the prompt still has its place.
        output = create_output(sys.stderr if sys.stderr and sys.stderr.isatty() else sys.stdout)
        if isinstance(output, Vt100_Output):
            output.enable_cpr = False  # an answer to it would come too late, as if it were typed
        self._session: PromptSession[str] = PromptSession(
            history=kept,
            output=output,
            multiline=True,
            prompt_continuation=CONTINUED,
            key_bindings=_bindings(),
            completer=_Slash(),
            complete_while_typing=Condition(self._in_command),
            enable_suspend=True,
            reserve_space_for_menu=len(COMMANDS),
        )

    def read(self) -> str:
        """The next message, as it was typed.

        Raises:
            EOFError: Ctrl-D with nothing typed.
            KeyboardInterrupt: Ctrl-C; what was typed is gone.
        """
        self.was_idle = False
        try:
            text = self._session.prompt(PROMPT)
        except KeyboardInterrupt:
            self.was_idle = not self._session.default_buffer.text
            raise
        finally:
            # What is pasted while an answer is written is a paste too, and no keys: else each of
            # its lines would be sent.
            self._session.output.enable_bracketed_paste()
            self._session.output.flush()
        if self._typed and (error := self._typed.failure):
            self._typed.failure = None
            self._say(f"note: cannot add to the history: {error.strerror}")
        return text

    def close(self) -> None:
        """A paste is keys again, as other programs expect it."""
        self._session.output.disable_bracketed_paste()
        self._session.output.flush()

    def _in_command(self) -> bool:
        text = self._session.default_buffer.text
        return text.startswith("/") and not text.startswith("//")


class _Typed(FileHistory):
    """What was typed, in a file as long as that can be, and in memory."""

    def __init__(self, filename: str) -> None:
        super().__init__(filename)
        self.failure: OSError | None = None
        """Why it is in memory only, until somebody has been told."""
        self._stores = True

    def store_string(self, string: str) -> None:
        if not self._stores or len(string) > LONGEST:
            return
        try:
            super().store_string(string)
        except OSError as error:  # a full disk; the line editor would wait for a key each time
            self._stores, self.failure = False, error


def _bindings() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("enter")
    def _enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if unfinished(buffer.text):
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @bindings.add("escape", "enter")  # Alt-Enter
    def _alt_enter(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return bindings


class _Slash(Completer):
    """Commands, and after them what they take."""

    def __init__(self) -> None:
        self._paths = PathCompleter(expanduser=True)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        text = document.text_before_cursor
        word, space, argument = text.partition(" ")
        if not word.startswith("/") or "\n" in text:
            return
        if not space:
            for name, command in COMMANDS.items():
                if name.startswith(word) and command.help:
                    yield Completion(name, -len(word), display_meta=command.help)
            return
        takes = arguments(word, argument)
        if takes.path is not None:
            yield from self._paths.get_completions(Document(takes.path), complete_event)
        for choice in takes.choices:
            if choice.startswith(argument):
                yield Completion(choice, -len(argument))
