"""What only a process of its own can show: Ctrl-C, output, imports, memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ggufs
import pytest

PROLOGUE = """
import sys
from pathlib import Path
from lokal.engine.engine import Engine
from lokal.engine.interrupt import Interrupt
from lokal.engine.backend import LlamaContext
from lokal.engine.llama import LlamaModel
from lokal.engine.request import Request, SamplingParams
from lokal.engine.plan import Shape
from lokal.engine.scheduler import Scheduler

interrupt = Interrupt()
model = LlamaModel(Path(sys.argv[1]), interrupt)

def start(n_ctx):
    context = LlamaContext(model, interrupt, Shape(1, 1, n_ctx, n_ctx, 2048), n_threads=1)
    return Engine(context, Scheduler(model.vocabulary, context.shape))
"""


def command(code: str, path: Path) -> list[str]:
    return [sys.executable, "-c", PROLOGUE + code, str(path)]


def run(code: str, path: Path) -> str:
    done = subprocess.run(command(code, path), capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def slow(models: Path) -> Path:
    """A model that takes many seconds to read a prompt of 30,000 tokens."""
    sizes = {"blocks": 6, "width": 256, "feed_forward": 512, "context": 32768}
    return ggufs.write(models / "slow.gguf", **sizes)


INTERRUPTED = """
import contextlib
from lokal.engine.request import FinishEvent
engine = start(32768)
long = Request((1, *[300] * 30000), SamplingParams(max_tokens=1), 1)
listening = interrupt.listening() if {listen} else contextlib.nullcontext()
with listening:
    print("go", flush=True)
    try:
        for event in engine.stream(long):
            print(type(event).__name__, getattr(event, "reason", ""), flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
short = Request((1, 300), SamplingParams(max_tokens=4, ignore_eos=True), 1)
print([event.usage.completion_tokens for event in engine.stream(short)
       if isinstance(event, FinishEvent)])
"""


@pytest.mark.parametrize("listen", [True, False])
def test_ctrl_c_ends_a_long_prompt_at_once(slow: Path, listen: bool) -> None:
    """Under `listening`, and with Python's own handler; the engine goes on afterwards."""
    code = INTERRUPTED.format(listen=listen)
    with subprocess.Popen(
        command(code, slow), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout
        assert child.stderr
        assert child.stdout.readline() == "go\n"
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        sent = time.monotonic()
        assert child.stdout.readline() == "FinishEvent aborted\n"
        assert child.stdout.readline() == "interrupted\n"
        # A quarter of a second on an idle machine; the whole prompt takes many.
        assert time.monotonic() - sent < 3
        assert child.stdout.read() == "[4]\n"
        assert child.stderr.read() == ""
    assert child.returncode == 0


def test_nothing_but_our_own_output(llama: Path) -> None:
    """llama.cpp writes neither to stdout nor to stderr, from loading to the exit."""
    code = """
for event in start(512).stream(Request((1, 300), SamplingParams(max_tokens=2), 1)):
    pass
print("done")
"""
    assert run(code, llama) == "done\n"


def test_the_real_package_can_still_be_imported(llama: Path) -> None:
    """Others in the process get llama_cpp whole, on the same native library."""
    code = """
print("llama_cpp" in sys.modules, "numpy" in sys.modules)
import llama_cpp
import llama_cpp.llama_cpp
print(llama_cpp.Llama.__name__, llama_cpp.llama_cpp is model.lib)
"""
    assert run(code, llama) == "False False\nLlama True\n"


def test_a_package_imported_before_is_used(llama: Path) -> None:
    """The order of imports does not matter."""
    code = "import llama_cpp\n" + PROLOGUE + "print(model.lib is llama_cpp.llama_cpp)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(llama)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"


def test_an_abort_prints_no_backtrace(llama: Path) -> None:
    """The debugger that ggml would start takes seconds; a user's own wish is respected."""
    code = "import os; print(os.environ['GGML_NO_BACKTRACE'])"
    assert run(code, llama) == "1\n"
    environ = {**os.environ, "GGML_NO_BACKTRACE": "0"}
    done = subprocess.run(command(code, llama), capture_output=True, env=environ, check=True)
    assert done.stdout == b"0\n"


@pytest.mark.skipif(sys.platform == "win32", reason="the resource module is for Unix")
def test_memory_does_not_grow(llama: Path) -> None:
    """Answers by the hundred leave nothing behind, and neither do models and contexts."""
    code = """
import resource
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
engine = start(512)
def answer(count):
    params = SamplingParams(max_tokens=4, ignore_eos=True, repeat_penalty=1.1)
    for seed in range(count):
        list(engine.stream(Request((1, *range(300, 320)), params, seed)))
        stream = engine.stream(Request((1, 300), params, seed))
        next(stream)
        stream.close()
def reload(count):
    for _ in range(count):
        other = LlamaModel(Path(sys.argv[1]), interrupt)
        LlamaContext(other, interrupt, Shape(1, 1, 512, 512, 512), n_threads=1).close()
        other.close()
answer(100); reload(5)
before = peak()
answer(400); reload(20)
unit = 1 if sys.platform == "darwin" else 1024
print((peak() - before) * unit < 4e6, (peak() - before) * unit)
"""
    assert run(code, llama).startswith("True")
