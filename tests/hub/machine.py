"""A user's machine: a cache of its own, and the stand-in as its Hub.

machine = Machine(tmp_path, hub)
path = machine.pull("demo/x", "Q4_K_M")                      # in a process of its own
error = machine.refuse(NetworkError)                         # expects it to fail like that
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from standin import Standin

from lokal.errors import LokalError

_DRIVER = Path(__file__).with_name("driver.py")


class Machine:
    interpreter = (sys.executable,)

    def __init__(self, tmp_path: Path, hub: Standin) -> None:
        self.cache = tmp_path / "cache"
        self.hub = hub
        self.env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "HOME": str(tmp_path),
            "HF_ENDPOINT": hub.endpoint,
            "HF_HUB_CACHE": str(self.cache),
            "LOKAL_CONFIG_DIR": str(tmp_path / "config"),
            "LOKAL_STATE_DIR": str(tmp_path / "state"),
        }

    def start(self, call: str, source: str | dict[str, str], **order: Any) -> subprocess.Popen[str]:
        """The driver, under way; `preexec_fn` goes to the process, the rest into the order."""
        preexec = order.pop("preexec_fn", None)
        order = {"call": call, "source": source, **order}
        return subprocess.Popen(
            [*self.interpreter, str(_DRIVER), json.dumps(order)],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=preexec,
        )

    def finish(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        stdout, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr
        result: dict[str, Any] = json.loads(stdout)
        said = "".join(f"{event[1]}\n" for event in result["events"] if event[0] == "say")
        assert stderr == said  # no word of the library's
        return result

    def call(self, call: str, source: str | dict[str, str], **order: Any) -> dict[str, Any]:
        return self.finish(self.start(call, source, **order))

    def pull(
        self, source: str | dict[str, str] = "demo/x", selector: str | None = None, **order: Any
    ) -> Path:
        """Pull, and the path of the first file; whatever happens, nothing is half done."""
        result = self.call("pull", source, selector=selector, **order)
        assert "error" not in result, result
        assert self.partials() == []
        return Path(result["paths"][0])

    def refuse(
        self, expected: type[LokalError], source: str = "demo/x", **order: Any
    ) -> dict[str, Any]:
        """Pull, expect that error; the result, with message and hint under "text"."""
        result = self.call("pull", source, **order)
        error = result.get("error")
        assert error is not None, result
        assert error["code"] == expected.code, error
        assert "\n" not in error["message"] + error["hint"]
        assert error["hint"]
        return {**result, "text": f"{error['message']} {error['hint']}"}

    def locate(
        self, source: str | dict[str, str] = "demo/x", selector: str | None = None, **order: Any
    ) -> Path | None:
        """Look without any network, and without the heavy library."""
        result = self.call("locate", source, selector=selector, no_network=True, **order)
        assert not result["heavy"]
        return Path(result["paths"][0]) if result["paths"] else None

    def partials(self) -> list[Path]:
        return [path for path in self.cache.rglob("*") if ".lokal" in path.name]

    def python(self, code: str) -> str:
        """What a program prints here."""
        done = subprocess.run(
            [*self.interpreter, "-c", code],
            env=self.env,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def hf(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command of huggingface_hub."""
        code = "from huggingface_hub.cli.hf import main; main()"
        return subprocess.run(
            [*self.interpreter, "-c", code, *arguments],
            env={**self.env, "HF_HUB_DISABLE_TELEMETRY": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
