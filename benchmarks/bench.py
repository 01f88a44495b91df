"""`llm bench`, side by side with llama-bench and llama-batched-bench: does it measure the same?

    python benchmarks/bench.py --model FILE --reference BIN [--rounds 5] [--only tg128] [--json]

FILE is what make_model.py writes, BIN the folder that build_reference.py --server prints. Ends with
1 if ours is too slow. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator

from compare import Comparison, command_line, interleaved, report, run

LEAST = 0.97  # ours / theirs
# As `llm` has it: threads that spin while they wait take the cores from each other.
CALM = {"GOMP_SPINCOUNT": "1000"}


def main() -> int:
    options = _options()
    return report(_comparisons(options), as_json=options.json)


def _options() -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--sequences", type=int, default=8, help="side by side, less than 16")
    return parser.parse_args()


def _comparisons(options: argparse.Namespace) -> Iterator[Comparison]:
    side_by_side = options.sequences
    for name, sequences, prompt, generate in (
        ("pp512, 1 sequence", 1, 512, 0),
        ("tg128, 1 sequence", 1, 0, 128),
        (f"pp512, {side_by_side} sequences", side_by_side, 512, 0),
        (f"tg128, {side_by_side} sequences", side_by_side, 0, 128),
    ):
        if options.only not in name:
            continue
        tool = llama_bench if sequences == 1 else _batched_bench
        samples = interleaved(
            options.rounds,
            ours(options, sequences, prompt, generate),
            tool(options, sequences, prompt, generate),
        )
        yield Comparison(name, "tokens/s", *samples, LEAST, more_is_better=True)


def ours(
    options: argparse.Namespace, sequences: int, prompt: int, generate: int
) -> Callable[[], float]:
    """A run of `llm bench`, to be measured: tokens/s."""
    command = [str(options.llm), "bench", str(options.model), "-t", str(options.threads)]
    command += ["-j", str(sequences), "-p", str(prompt), "-n", str(generate), "-r", "1", "--json"]
    speed = "prompt_per_second" if prompt else "generate_per_second"
    return lambda: float(json.loads(run(command).output)["results"][0][speed]["median"])


def llama_bench(
    options: argparse.Namespace, _sequences: int, prompt: int, generate: int
) -> Callable[[], float]:
    """A run of llama-bench, which knows one sequence only: tokens/s."""
    command = [str(options.reference / "llama-bench"), "-m", str(options.model), "-r", "1"]
    command += ["-t", str(options.threads), "-p", str(prompt), "-n", str(generate), "-o", "json"]
    return lambda: float(json.loads(run(command, CALM).output)[0]["avg_ts"])


def _batched_bench(
    options: argparse.Namespace, sequences: int, prompt: int, generate: int
) -> Callable[[], float]:
    """It always generates, so a test of prompts has a token of an answer each."""
    generate = generate or 1
    sizes = {"-npl": sequences, "-npp": prompt, "-ntg": generate, "-t": options.threads}
    sizes["-c"] = sequences * (prompt + generate)
    command = [str(options.reference / "llama-batched-bench"), "-m", str(options.model)]
    command += [word for flag, number in sizes.items() for word in (flag, str(number))]
    command += ["--output-format", "jsonl"]
    speed = "speed_pp" if prompt else "speed_tg"

    def measure() -> float:
        # It logs from a thread, and now and then loses all of it when it ends.
        for _ in range(5):
            for line in run(command, CALM).output.decode().splitlines():
                if line.startswith('{"n_kv_max"'):
                    # What a test without tokens comes to is no JSON.
                    return float(json.loads(line.replace("-nan", "0"))[speed])
        raise SystemExit("llama-batched-bench prints nothing")

    return measure


if __name__ == "__main__":
    sys.exit(main())
