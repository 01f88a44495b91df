"""What the comparisons share: measuring a program from outside, ratios, the table."""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from lokal.hardware.cpu import usable_cores

_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes, of ru_maxrss


@dataclass(frozen=True)
class Comparison:
    """Samples of both sides, in `unit`, and the target as people state it.

    A target is met when `ratio` (median of ours over median of theirs) is on the right side of
    `limit`; `slack`, in `unit`, is what ours may have on top.
    """

    name: str
    unit: str
    ours: list[float]
    theirs: list[float]
    limit: float
    more_is_better: bool = False
    slack: float = 0.0

    @property
    def ratio(self) -> float:
        return statistics.median(self.ours) / statistics.median(self.theirs)

    @property
    def met(self) -> bool:
        ours, allowed = statistics.median(self.ours), self.limit * statistics.median(self.theirs)
        return ours >= allowed if self.more_is_better else ours <= allowed + self.slack

    @property
    def target(self) -> str:
        sign = ">=" if self.more_is_better else "<="
        return f"{sign} {self.limit:g}" + (f" + {self.slack:g} {self.unit}" if self.slack else "")

    def as_dict(self) -> dict[str, object]:
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": self.ours,
            "theirs": self.theirs,
            "ratio": round(self.ratio, 4),
            "target": self.target,
            "met": self.met,
        }


@dataclass(frozen=True)
class Run:
    """One run of a program: seconds from its start, bytes of memory at its peak."""

    first_byte: float
    total: float
    peak_bytes: int
    output: bytes


def run(command: list[str], environment: dict[str, str] | None = None) -> Run:
    """Run a program to its end with no standard input.

    Raises:
        SystemExit: it failed; the message has the end of its standard error.
    """
    read_end, write_end = os.pipe()
    with Path(os.devnull).open("rb") as nothing, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=nothing,
            stdout=write_end,
            stderr=errors,
            env={**os.environ, **(environment or {})},
        )
        os.close(write_end)
        output = os.read(read_end, 1)
        first_byte = time.perf_counter() - start
        with os.fdopen(read_end, "rb") as rest:
            output += rest.read()
        # wait4 is what knows the peak memory of this one child.
        _, status, usage = os.wait4(process.pid, 0)
        total = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            last = errors.read().decode("utf-8", "replace")[-2000:]
            raise SystemExit(f"{' '.join(command)[:200]} ended with {process.returncode}:\n{last}")
    return Run(first_byte, total, usage.ru_maxrss * _UNIT, output)


def own_peak() -> int:
    """Bytes of memory at this process's own peak, below which Linux reports no child's."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT


def command_line(description: str | None, rounds: int = 5) -> argparse.ArgumentParser:
    """What a comparison of `llm` with llama.cpp's tools is told; more may be added."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="the GGUF of make_model.py")
    parser.add_argument("--reference", type=Path, required=True, help="folder of llama.cpp's tools")
    parser.add_argument("--llm", type=Path, default=Path(sys.executable).with_name("llm"))
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--only", default="", help="comparisons whose name contains this")
    parser.add_argument("--json", action="store_true")
    return parser


def interleaved(
    rounds: int, ours: Callable[[], float], theirs: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """Samples of both sides in turns, who is first alternating; one round before warms caches."""
    samples: tuple[list[float], list[float]] = ([], [])
    sides = (ours, theirs)
    for number in range(rounds + 1):
        for side in (0, 1) if number % 2 else (1, 0):
            value = sides[side]()
            if number:
                samples[side].append(value)
    return samples


def report(comparisons: Iterable[Comparison], *, as_json: bool) -> int:
    """Print everything; the exit code is 1 if a target was missed."""
    comparisons = list(comparisons)
    if as_json:
        lines = [json.dumps([comparison.as_dict() for comparison in comparisons], indent=2)]
    else:
        lines = ["| what | ours | theirs | ratio | target | met |", "|---|---|---|---|---|---|"]
        for row in comparisons:
            ours, theirs = (_spread(side, row.unit) for side in (row.ours, row.theirs))
            met = "yes" if row.met else "NO"
            lines.append(
                f"| {row.name} | {ours} | {theirs} | {row.ratio:.3f} | {row.target} | {met} |"
            )
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if all(comparison.met for comparison in comparisons) else 1


def _spread(samples: list[float], unit: str) -> str:
    """The median, and how far the samples lie apart."""
    low, middle, high = min(samples), statistics.median(samples), max(samples)
    return f"{middle:.3g} {unit} ({low:.3g}-{high:.3g})"
