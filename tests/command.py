"""Runs `llm` as a process of its own, the way a shell does, apart from the user's own settings.

    llm = Llm(tmp_path)
    result = llm.run("run", path, "hello", stdin=b"more", env={"LOKAL_TEMP": "0"})
    result.stdout, result.stderr, result.code

What it prints stays bytes on stdout, because that is what is promised; stderr is text.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lokal

TIMEOUT = 60  # seconds until a hang becomes a failure; nothing comes near it
_SCRIPT = Path(sys.executable).with_name("llm")
_START = "from lokal.cli.main import main; main()"
# What the machine under the tests needs; whatever else the user has set stays outside.
_PASSED_ON = ("PATH", "HOME", "SYSTEMROOT", "TMPDIR", "LD_LIBRARY_PATH")


def text(path: Path | str) -> str:
    return os.fspath(path)


@dataclass(frozen=True)
class Result:
    """What a process left behind; `code` is negative for a signal, as in `subprocess`."""

    stdout: bytes
    stderr: str
    code: int

    @property
    def json(self) -> Any:
        """The one JSON value on standard output, which ends in one newline."""
        assert self.stdout.endswith(b"\n"), self
        assert self.stdout.count(b"\n") == 1, self
        return json.loads(self.stdout)

    @property
    def text(self) -> str:
        return self.stdout.decode("utf-8", "replace")


class Llm:
    """The command, with directories of its own below `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.config = home / "config"
        self.config.mkdir(exist_ok=True)
        self.cache = home / "hf"

    def argv(self, *args: Path | str | bytes) -> list[str | bytes]:
        start = [text(_SCRIPT)] if _SCRIPT.exists() else [sys.executable, "-c", _START]
        return [*start, *(os.fspath(arg) for arg in args)]

    def environ(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        return {
            **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            "PYTHONPATH": text(Path(lokal.__file__).parents[1]),
            "LOKAL_CONFIG_DIR": text(self.config),
            "LOKAL_STATE_DIR": text(self.home / "state"),
            "HF_HOME": text(self.cache),
            "HF_HUB_OFFLINE": "1",
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            **(extra or {}),
        }

    def run(
        self,
        *args: Path | str | bytes,
        stdin: bytes | int = b"",
        stdout: int = subprocess.PIPE,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Result:
        """Run to the end; `stdin` is what it reads, or a file descriptor."""
        given = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
        done = subprocess.run(
            self.argv(*args),
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=self.environ(env),
            cwd=cwd,
            timeout=TIMEOUT,
            check=False,
            **given,
        )
        return Result(done.stdout or b"", done.stderr.decode(), done.returncode)

    @contextlib.contextmanager
    def start(self, *args: Path | str, **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
        """A process to watch and to disturb; it does not outlive the block."""
        streams = {"stdin": subprocess.DEVNULL, **streams}
        process = subprocess.Popen(
            self.argv(*args),
            env=self.environ(streams.pop("env", None)),
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def shell(self, script: str, *args: Path | str, env: Mapping[str, str] | None = None) -> Result:
        """Run a line of bash in which `llm` is the command and $1, $2, ... are `args`."""
        llm = f'llm() {{ {shlex.join(map(str, self.argv()))} "$@"; }}'
        done = subprocess.run(
            ["bash", "-c", f"{llm}\n{script}", "bash", *map(text, args)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=self.environ(env),
            timeout=TIMEOUT,
            check=False,
        )
        return Result(done.stdout, done.stderr.decode(), done.returncode)


def finish(process: subprocess.Popen[bytes]) -> Result:
    """Wait for the end of a started process."""
    stdout, stderr = process.communicate(timeout=TIMEOUT)
    return Result(stdout or b"", (stderr or b"").decode(), process.returncode)


class Terminal:
    """A pseudo-terminal, and a person at it."""

    def __init__(self) -> None:
        self._master, self.slave = pty.openpty()

    @property
    def streams(self) -> dict[str, Any]:
        """Arguments of `Llm.start` that put a process at this terminal, keys and signals too."""
        return {
            **dict.fromkeys(("stdin", "stdout", "stderr"), self.slave),
            "preexec_fn": partial(os.login_tty, self.slave),
        }

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in (self._master, self.slave):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def read_until(self, wanted: bytes) -> bytes:
        """Everything until `wanted` has appeared."""
        seen, deadline = b"", time.monotonic() + TIMEOUT
        while wanted not in seen:
            assert time.monotonic() < deadline, seen
            if select.select([self._master], [], [], 1)[0]:
                seen += os.read(self._master, 4096)
        return seen

    def drain(self) -> bytes:
        """What is still there; call it when the process has ended."""
        seen = b""
        while select.select([self._master], [], [], 0.2)[0]:
            seen += os.read(self._master, 4096)
        # The terminal itself turns every \n into \r\n.
        return seen.replace(b"\r\n", b"\n")


def assert_error(result: Result, code: int, *words: str, as_json: bool = False) -> None:
    """The promised shape: one line `error:`, one line `hint:`, nothing or one object on stdout."""
    lines = result.stderr.splitlines()
    failures = [line for line in lines if not line.startswith("note: ")]
    assert result.code == code, result
    assert len(failures) == 2, result
    assert failures[0].startswith("error: "), result
    assert failures[1].startswith("hint: "), result
    assert len(failures[0]) > len("error: "), result
    assert len(failures[1]) > len("hint: "), result
    assert "Traceback" not in result.stderr, result
    for word in words:
        assert word in result.stderr, result
    if as_json:
        error = result.json["error"]
        assert list(result.json) == ["error"], result
        assert list(error) == ["code", "message", "hint"], result
        assert failures[1] == f"hint: {error['hint']}", result
    else:
        assert result.stdout == b"", result
