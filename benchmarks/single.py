"""One stream, side by side with llama.cpp's own tools, as ratios of medians of interleaved rounds.

    python benchmarks/single.py --model FILE --reference BIN [--rounds 5] [--json]

FILE is what make_model.py writes, BIN the folder that build_reference.py prints. Ends with 1 if a
target is missed. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator

from compare import Comparison, Run, command_line, interleaved, report, run
from make_model import WORDS

# Decodes TOKENS tokens after a prompt, less what the prompt and the first token take.
_DECODE = """
import sys, time
import lokal

path, threads, tokens = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

def seconds(count):
    start = time.perf_counter()
    for _ in model.stream("the", raw=True, max_tokens=count, temperature=0, ignore_eos=True):
        pass
    return time.perf_counter() - start

with lokal.load(path, threads=threads, ctx=512) as model:
    seconds(8)
    prompt = seconds(1)
    print(tokens / (seconds(tokens + 1) - prompt))
"""


def main() -> int:
    options = _options()
    comparisons = _comparisons(options)
    return report(comparisons, as_json=options.json)


def _options() -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--tokens", type=int, default=128, help="to decode for the speed")
    return parser.parse_args()


def _comparisons(options: argparse.Namespace) -> Iterator[Comparison]:
    run_tiny = [str(options.llm), "run", "tiny", "hi", "-n", "1"]
    show_help = [str(options.llm), "--help"]
    measures: dict[str, Callable[[str], Iterator[Comparison]]] = {
        "decode": lambda name: _decode(name, options),
        "llm run tiny -n 1": lambda name: _start(name, options, run_tiny, "llama_cpp", 0.7),
        "llm --help": lambda name: _start(name, options, show_help, "typer", 2.0),
        "first token": lambda name: _first_token(name, options),
    }
    for name, measure in measures.items():
        if options.only in name:
            yield from measure(name)


def _decode(name: str, options: argparse.Namespace) -> Iterator[Comparison]:
    """Tokens a second of one stream, against llama-bench."""
    arguments = [str(options.model), str(options.threads), str(options.tokens)]
    ours = [sys.executable, "-c", _DECODE, *arguments]
    bench = [_tool(options, "llama-bench"), "-m", arguments[0], "-t", arguments[1]]
    bench += ["-n", arguments[2], "-p", "0", "-r", "1", "-o", "json"]
    samples = interleaved(
        options.rounds,
        lambda: float(run(ours).output),
        lambda: float(json.loads(run(bench).output)[0]["avg_ts"]),
    )
    yield Comparison(f"{name} vs llama-bench", "tokens/s", *samples, 0.98, more_is_better=True)


def _start(
    name: str, options: argparse.Namespace, ours: list[str], module: str, limit: float
) -> Iterator[Comparison]:
    """Seconds of a whole command, against what importing one module takes."""
    theirs = [sys.executable, "-c", f"import {module}"]
    # A start takes a fraction of a second: more rounds cost little.
    samples = interleaved(3 * options.rounds, lambda: run(ours).total, lambda: run(theirs).total)
    yield Comparison(f"{name} vs import {module}", "s", *samples, limit)


def _first_token(name: str, options: argparse.Namespace) -> Iterator[Comparison]:
    """From the start of the process to the first byte on stdout, and its peak memory."""
    prompt = " ".join(random.Random(7).choices(WORDS.split(), k=200))
    sizes = ["-t", str(options.threads), "-c", "1024", "-n", "8", "--temp", "0", "--ignore-eos"]
    ours = [str(options.llm), "run", str(options.model), prompt, "--raw", *sizes]
    # Without its warm-up run, which only delays the first token.
    theirs = [_tool(options, "llama-completion"), "-m", str(options.model), "-p", prompt, *sizes]
    theirs += ["-no-cnv", "--no-display-prompt", "--no-warmup", "--simple-io"]
    expected = run(ours).output.strip()
    runs: tuple[list[Run], list[Run]] = ([], [])

    def measure(side: int, command: list[str]) -> float:
        # llama-completion writes from a thread, and now and then loses text when it ends.
        for _ in range(5):
            result = run(command)
            if result.output.strip() == expected:
                runs[side].append(result)
                return result.first_byte
        raise SystemExit(f"different texts: {expected!r} and {result.output.strip()!r}")

    samples = interleaved(options.rounds, lambda: measure(0, ours), lambda: measure(1, theirs))
    yield Comparison(f"{name} vs llama-completion", "s", *samples, 1.25)
    peaks = ([result.peak_bytes / 1e6 for result in side[1:]] for side in runs)
    yield Comparison("peak memory vs llama-completion", "MB", *peaks, 1.1, slack=40)


def _tool(options: argparse.Namespace, name: str) -> str:
    return str(options.reference / name)


if __name__ == "__main__":
    sys.exit(main())
