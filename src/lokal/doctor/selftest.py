"""The same words from every device: those of a GPU are compared with the CPU's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lokal.doctor import child
from lokal.doctor.child import ChildError, SilentError
from lokal.doctor.finding import Finding, failure, note, ok, warning

SECONDS = 10.0  # for all devices together
FEW = 8  # tokens; a difference this early is no rounding
# What tiny begins with wherever it computes rightly: "Once upon a time, there was a fox".
BEGINNING = (488, 589, 263, 438, 1972, 374, 289, 263)
_MODULE = "lokal.doctor.trial"
_REPAIR = "update the driver and llama-cpp-python; until then --gpu-layers 0 leaves the GPU alone"

Trial = Callable[[str, float], Any]


def _in_child(device: str, seconds: float) -> Any:
    return child.ask(_MODULE, device, seconds=seconds)


def check_devices(gpus: Sequence[str], trial: Trial = _in_child) -> Iterator[Finding]:
    """Let `tiny` write on the CPU, and on each GPU alone; `gpus` are names in llama.cpp's order.

    `trial(device, seconds)` gives its tokens, text and tokens a second, or raises ChildError.
    """
    end = time.monotonic() + SECONDS
    expected: list[int] = []
    for index, name in enumerate(("CPU", *gpus)):
        left = end - time.monotonic()
        if left <= 0:
            late = f"{name} was not tried: {SECONDS:.0f} seconds were over"
            yield note("self-test", late, "hide the other devices, e.g. CUDA_VISIBLE_DEVICES=0")
            continue
        try:
            answer = trial(str(index - 1) if index else "cpu", left)
        except SilentError as error:
            yield warning("self-test", f"{name}: {error.message}", error.hint)
        except ChildError as error:
            yield failure("self-test", f"{name}: {error.message}", error.hint, error.exit_code)
        else:
            if index == 0:
                expected = answer["tokens"]
            yield _compare(name, answer, expected) if index else _first(answer)


def _first(answer: Any) -> Finding:
    if not answer["text"]:
        return failure("self-test", "CPU: nothing comes out", "install llama-cpp-python again")
    if tuple(answer["tokens"][:FEW]) != BEGINNING:
        text = f"CPU: tiny writes {_amount(answer)}, other ones than it does elsewhere"
        return failure("self-test", text, "install llama-cpp-python again, of another version")
    return ok("self-test", f"CPU: tiny writes {_amount(answer)}")


def _compare(name: str, answer: Any, expected: Sequence[int]) -> Finding:
    tokens = answer["tokens"]
    if not answer["text"]:
        return failure("self-test", f"{name}: nothing comes out", _REPAIR)
    if not expected:
        alone = f"{name}: tiny writes {_amount(answer)}, and there is no CPU to compare with"
        return warning("self-test", alone, "see the CPU's self-test above")
    same = next(
        (i for i, pair in enumerate(zip(tokens, expected, strict=False)) if pair[0] != pair[1]),
        min(len(tokens), len(expected)),
    )
    if same == len(expected) == len(tokens):
        return ok("self-test", f"{name}: tiny writes {_amount(answer)}, the same as on the CPU")
    text = f"{name}: tiny writes {_amount(answer)}, other ones than on the CPU from the "
    if same < FEW:
        return failure("self-test", f"{text}{same + 1}. on", _REPAIR)
    rounding = "sums are rounded differently there; nothing to do unless answers make no sense"
    return warning("self-test", f"{text}{same + 1}. on", rounding)


def _amount(answer: Any) -> str:
    return f"{len(answer['tokens'])} tokens at {answer['rate']:.0f} tokens/s"
