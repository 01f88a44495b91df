"""`python -m lokal.check_registry`, against a Hub that has some of the files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from small_hub import SmallHub

import lokal

TINYLLAMA = "TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF"


def check(endpoint: str, *names: str) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "PYTHONPATH": str(Path(lokal.__file__).parents[1]),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_OFFLINE": "0",
    }
    return subprocess.run(
        [sys.executable, "-m", "lokal.check_registry", *names],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_what_has_moved_is_printed() -> None:
    repos = {
        TINYLLAMA: {"tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf": b"much smaller"},
        "bartowski/phi-4-GGUF": {"phi-4.Q4_K_M.gguf": b"renamed"},
    }
    with SmallHub(repos) as hub:
        done = check(hub.endpoint, "tinyllama", "phi4", "smollm3")
    assert done.returncode == 1, done
    assert sorted(done.stdout.splitlines()) == [
        f"{'phi4':<24} bartowski/phi-4-GGUF: phi-4-Q4_K_M.gguf is not there, but phi-4.Q4_K_M.gguf",
        f"{'smollm3':<24} ggml-org/SmolLM3-3B-GGUF: ggml-org/SmolLM3-3B-GGUF is not there",
        f"{'tinyllama':<24} {TINYLLAMA}: tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf has 1.2e-08 GB,"
        " not 0.67",
    ]
    assert done.stderr == ""


def test_a_hub_that_does_not_answer_is_no_crash() -> None:
    done = check("http://127.0.0.1:9", "phi4")
    assert done.returncode == 1
    assert "the Hub failed" in done.stdout
    assert "Traceback" not in done.stderr
