"""A person who talks with `llm chat` at a terminal.

    with Person(llm, "chat", "tiny") as person:
        person.prompted()
        answer = person.say("Hello")        # all that appears until the next prompt
        person.press(CTRL_D)
        assert person.leave() == 0          # and the terminal is as it was

Waits for what appears, never for time to pass.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import resource
import signal
import subprocess
import termios
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from command import TIMEOUT, Llm
from pexpect.fdpexpect import fdspawn

CTRL_C, CTRL_D = "\x03", "\x04"
ALT_ENTER, UP = "\x1b\r", "\x1b[A"
# The line editor asks for pastes to be marked while it reads, and only then.
READS, READS_NO_MORE = "\x1b[?2004h", "\x1b[?2004l"
ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[()].|[=>])")


def pasted(text: str) -> str:
    """A text as a terminal hands it over when it is pasted."""
    newlines = text.replace("\n", "\r")
    return f"\x1b[200~{newlines}\x1b[201~"


def plain(text: str) -> str:
    """What is on the screen, escape codes left out."""
    return ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "")


class Person:
    """Types, and reads the screen: a window of 30 lines of 100 characters.

    No file grows beyond `file_size` bytes, as on a full disk.
    """

    def __init__(
        self,
        llm: Llm,
        *args: Path | str,
        env: Mapping[str, str] | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        file_size: int | None = None,
    ) -> None:
        self._master, self._slave = pty.openpty()
        self.resize(30, 100)
        self._before = termios.tcgetattr(self._slave)
        self._process = subprocess.Popen(
            llm.argv(*args),
            env=llm.environ(env),
            stdin=self._slave,
            stdout=self._slave if stdout is None else stdout,
            stderr=self._slave if stderr is None else stderr,
            preexec_fn=partial(_begin, file_size),
        )
        # Random weights write what is no text.
        text = {"encoding": "utf-8", "codec_errors": "replace"}
        self._screen = fdspawn(self._master, timeout=TIMEOUT, **text)
        self._screen.delaybeforesend = None

    def __enter__(self) -> Person:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._screen.close()
        os.close(self._slave)

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode("utf-8", "surrogateescape"))

    def until(self, wanted: str) -> str:
        """All that appears up to this, and it."""
        self._screen.expect_exact(wanted)
        return plain(self._screen.before + wanted)

    def until_drawn(self, wanted: str) -> None:
        """This appears at the prompt, which may be drawn in any number of strokes."""
        strokes = r"(?:\x1b\[[0-?]*[a-zA-Z])*"
        self._screen.expect(strokes.join(re.escape(char) for char in wanted))

    def until_match(self, pattern: str) -> str:
        """The first that matches."""
        self._screen.expect(pattern)
        return plain(self._screen.after)

    def prompted(self) -> str:
        """All that appears up to the next prompt."""
        shown = self.until(READS)
        self.until(">>>")
        return shown

    def answered(self) -> str:
        """All that appears between the end of typing and the next prompt."""
        self._sent()
        return self.prompted().strip("\n")

    def send(self, text: str) -> None:
        """Type it and press Enter; what appears from then on is the answer."""
        self.press(f"{text}\r")
        self._sent()

    def say(self, text: str) -> str:
        """Type it and press Enter; what appears until the next prompt."""
        self.send(text)
        return self.prompted().strip("\n")

    def _sent(self) -> None:
        """The prompt has taken what was typed; pastes go on being told from keys."""
        self.until(READS_NO_MORE)
        self.until(READS)

    def saved(self, path: Path) -> list[dict[str, Any]]:
        """The messages of the conversation, as /save writes them."""
        assert "saved" in self.say(f"/save {path}")
        return json.loads(path.read_text())["messages"]

    def contents(self, path: Path) -> list[str]:
        return [message["content"] for message in self.saved(path)]

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def resize(self, lines: int, columns: int) -> None:
        termios.tcsetwinsize(self._slave, (lines, columns))

    def leave(self) -> int:
        """Wait for the end and see that the terminal is as it was; the exit code."""
        code = self._process.wait(TIMEOUT)
        assert termios.tcgetattr(self._slave) == self._before
        return code


def _begin(file_size: int | None) -> None:
    """Own the terminal, so that keys become signals, and closing the window would."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
