"""What `llm bench` has measured: a table and a plot for people, an object for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from lokal.bench import Result, Speed, Trial
from lokal.cli.output import human_bytes, human_count, table, visible

WIDTH = 50  # characters of the longest bar
_EIGHTHS = " ▏▎▍▌▋▊▉"  # of a character, from the left
_TITLES = ("SEQUENCES", "PROMPT/S", "RANGE", "GENERATED/S", "RANGE", "EACH/S")


class Facts(NamedTuple):
    """What was measured, and on what; `weights` is its checksum, or empty."""

    model: str
    weights: str
    size: int
    parameters: int
    quantization: str
    device: str
    threads: int
    llama_cpp: str


def lines(facts: Facts, trial: Trial, results: Sequence[Result]) -> list[str]:
    """For people, or for `awk`: two lines of facts, a table, and a plot where there is a curve."""
    threads = f"{facts.threads} thread{'' if facts.threads == 1 else 's'}"
    shown = [
        f"{visible(facts.model)}, {facts.quantization}, {human_count(facts.parameters)} parameters,"
        f" {human_bytes(facts.size)}",
        f"{visible(facts.device)}, {threads}, llama.cpp {facts.llama_cpp}",
        "",
        *_table(results),
    ]
    curve = {result.sequences: result.generate.median for result in results if result.generate}
    if len(curve) > 1:
        title = f"generated tokens/s by sequences ({trial.generate} tokens each)"
        shown += ["", title, *plot(curve)]
    return shown


def _table(results: Sequence[Result]) -> list[str]:
    rows = [_TITLES]
    for result in results:
        generate = result.generate
        each = _number(generate.median / result.sequences) if generate else "-"
        rows.append((str(result.sequences), *_speed(result.prompt), *_speed(generate), each))
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return table(
        [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    )


def plot(values: dict[int, float]) -> list[str]:
    """A horizontal bar for each number."""
    most = max(values.values())
    keys, shown = max(len(str(key)) for key in values), []
    for key, value in values.items():
        whole, part = divmod(round(value / most * WIDTH * 8), 8)
        shown.append(f"{key:>{keys}} {'█' * whole}{_EIGHTHS[part].strip()} {_number(value)}")
    return shown


def as_dict(facts: Facts, trial: Trial, results: Sequence[Result]) -> dict[str, Any]:
    """As JSON has it; speeds are null where a test was left out."""
    return {
        **facts._asdict(),
        "results": [
            {
                "sequences": result.sequences,
                "prompt_tokens": trial.prompt,
                "generated_tokens": trial.generate,
                "prompt_per_second": result.prompt and _rounded(result.prompt),
                "generate_per_second": result.generate and _rounded(result.generate),
                "samples": [_rounded(sample) for sample in result.samples],
            }
            for result in results
        ],
    }


def _rounded(numbers: NamedTuple) -> dict[str, float | None]:
    return {name: value and round(value, 3) for name, value in numbers._asdict().items()}


def _speed(speed: Speed | None) -> tuple[str, str]:
    if speed is None:
        return "-", "-"
    low, high = _number(speed.min), _number(speed.max)
    return _number(speed.median), "-" if low == high else f"{low}-{high}"


def _number(value: float) -> str:
    """Three digits at least."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
