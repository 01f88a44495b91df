"""Many prompts, side by side with llama.cpp's server and a loop over the high-level binding.

    python benchmarks/batch.py --model FILE --reference BIN [--rounds 3] [--only shared] [--json]

FILE is what make_model.py writes, BIN the folder that build_reference.py --server prints. Ratios of
medians of interleaved rounds; loading is in none of them. Ends with 1 if a target is missed. Run it
on an idle machine: a round of everything takes some ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import workload
from compare import Comparison, command_line, interleaved, own_peak, report, run
from server import ask_all, server
from workload import Ask

_CONTEXT = 512  # tokens of each sequence
_FEW, _MANY = 1_000, 100_000  # rows for the memory
# The binding has no ignore_eos: whoever calls this looks whether all tokens came.
_LOOP = """
import json, sys, time
from llama_cpp import Llama

path, threads, context, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
asks = [json.loads(line) for line in open(rows)]
llama = Llama(path, n_ctx=context, n_threads=threads, n_threads_batch=threads, verbose=False)
prompt = completion = 0
start = time.perf_counter()
for ask in asks:
    answer = llama.create_completion(ask["prompt"], max_tokens=ask["max_tokens"], temperature=0)
    prompt += answer["usage"]["prompt_tokens"]
    completion += answer["usage"]["completion_tokens"]
print(json.dumps([time.perf_counter() - start, prompt, completion]))
"""


class Measured(NamedTuple):
    """One side's run of a workload; seconds without loading, and with it where that is known."""

    seconds: float
    prompt_tokens: int
    completion_tokens: int
    whole: float | None = None


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        bench = _Bench(options, Path(folder))
        return report(bench.comparisons(), as_json=options.json)


def _options() -> argparse.Namespace:
    parser = command_line(__doc__, rounds=3)
    parser.add_argument("--slots", type=int, default=24, help="of both sides, and the clients")
    parser.add_argument("--server", default="", help="more flags for llama-server, in one text")
    return parser.parse_args()


class _Bench:
    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._model = str(options.model)
        self._threads = str(options.threads)

    def comparisons(self) -> Iterator[Comparison]:
        parts: dict[str, Callable[[str], Iterator[Comparison]]] = {
            "shared": lambda name: self._speed(name, workload.shared(), self._server, 1.6),
            "unshared": lambda name: self._speed(name, workload.unshared(), self._server, 1.0),
            "loop": lambda name: self._speed(name, workload.shared(), self._loop, 1.3),
            "tree": self._tree,
            "python": self._python,
            "memory": self._memory,
        }
        for name, measure in parts.items():
            # "shared" is a part of "unshared" too, and means itself.
            if self._options.only == name or (
                self._options.only not in parts and self._options.only in name
            ):
                yield from measure(name)

    def _speed(
        self,
        name: str,
        asks: list[Ask],
        theirs: Callable[[Path, list[Ask]], Measured],
        limit: float,
    ) -> Iterator[Comparison]:
        """Rows a minute of both sides, once what both computed is found to be the same."""
        rows = workload.write(self._folder / f"{name}.jsonl", asks)
        seen: list[Measured] = []

        def measure(side: str, result: Callable[[], Measured]) -> float:
            seen.append(result())
            _note(name, side, seen[-1])
            if seen[-1][1:3] != seen[0][1:3]:
                raise SystemExit(f"different work: {seen[0][1:3]} and {seen[-1][1:3]} tokens")
            return 60 * len(asks) / seen[-1].seconds

        samples = interleaved(
            self._options.rounds,
            lambda: measure("ours", partial(self._ours, rows)),
            lambda: measure("theirs", partial(theirs, rows, asks)),
        )
        yield Comparison(name, "rows/min", *samples, limit, more_is_better=True)

    def _ours(self, rows: Path) -> Measured:
        output = rows.with_suffix(".out")
        output.unlink(missing_ok=True)  # else it would be continued
        whole = run(self._batch(self._llm(), self._model, rows, output)).total
        results = _results(output)
        load = max(result["timings"]["load"] for result in results)
        return Measured(
            whole - load, _sum(results, "prompt_tokens"), _sum(results, "completion_tokens"), whole
        )

    def _server(self, _rows: Path, asks: list[Ask]) -> Measured:
        """A fresh one each time, so that no prompt lies in its cache from the round before."""
        options = self._options
        command = [str(options.reference / "llama-server"), "-m", self._model]
        command += ["-np", str(options.slots), "-c", str(options.slots * _CONTEXT)]
        command += ["-t", self._threads, *shlex.split(options.server)]
        with server(command) as port:
            return Measured(*ask_all(port, asks, options.slots))

    def _loop(self, rows: Path, _asks: list[Ask]) -> Measured:
        arguments = [self._model, self._threads, str(_CONTEXT), str(rows)]
        environment = {"GOMP_SPINCOUNT": "1000"}  # as `llm` sets it
        result = run([sys.executable, "-c", _LOOP, *arguments], environment)
        return Measured(*json.loads(result.output))

    def _tree(self, name: str) -> Iterator[Comparison]:
        """Prompt tokens computed, against each document once and each question once."""
        rows = workload.write(self._folder / f"{name}.jsonl", workload.tree())
        output = rows.with_suffix(".out")
        run(self._batch(self._llm(), self._model, rows, output, context=1024))
        results = _results(output)
        prompt, cached = _sum(results, "prompt_tokens"), _sum(results, "cached_tokens")
        sys.stderr.write(f"{name}: {prompt} prompt tokens, {cached} of them cached\n")
        once = workload.DOCUMENTS * workload.DOCUMENT
        once += workload.DOCUMENTS * workload.QUESTIONS * workload.QUESTION
        # The last token before a fork may be computed again: a row needs logits of its own.
        slack = len(results)
        samples = [float(prompt - cached)], [float(once)]
        yield Comparison(f"{name}, computed", "tokens", *samples, 1.0, slack=slack)

    def _python(self, name: str) -> Iterator[Comparison]:
        """Time outside llama.cpp, against all of it, from the first forward pass on."""
        rows = workload.write(self._folder / f"{name}.jsonl", workload.shared())
        share = Path(__file__).with_name("python_share.py")
        samples: tuple[list[float], list[float]] = ([], [])
        for _ in range(self._options.rounds):
            output, clock = rows.with_suffix(".out"), rows.with_suffix(".clock")
            output.unlink(missing_ok=True)
            llm = [sys.executable, str(share), str(clock)]
            run(self._batch(llm, self._model, rows, output))
            seconds = json.loads(clock.read_text())
            samples[0].append(seconds["python"])
            samples[1].append(seconds["wall"])
        yield Comparison(f"{name}, of the wall time", "s", *samples, 0.05)

    def _memory(self, name: str) -> Iterator[Comparison]:
        """Peak memory of the embedded model over many rows, against few."""
        peaks = []
        for count in (_MANY, _FEW):
            asks = (Ask(f"Row {index}", 1) for index in range(count))
            rows = workload.write(self._folder / f"{name}-{count}.jsonl", asks)
            output = rows.with_suffix(".out")
            result = run(self._batch(self._llm(), "tiny", rows, output))
            if result.peak_bytes <= own_peak():
                raise SystemExit("the peak is this process's own: it lasts until the exec")
            with output.open("rb") as lines:
                if sum(1 for _ in lines) != count:
                    raise SystemExit(f"{count} rows in, another number out")
            peaks.append(result.peak_bytes / 1e6)
        yield Comparison(f"{name}, {_MANY} rows to {_FEW}", "MB", [peaks[0]], [peaks[1]], 1.1)

    def _llm(self) -> list[str]:
        return [str(self._options.llm)]

    def _batch(
        self, llm: list[str], model: str, rows: Path, output: Path, context: int = _CONTEXT
    ) -> list[str]:
        command = [*llm, "batch", model, str(rows), "-o", str(output), "--raw", "--temp", "0"]
        command += ["-j", str(self._options.slots), "-t", self._threads, "-c", str(context)]
        return [*command, "-q"]


def _results(output: Path) -> list[dict[str, Any]]:
    with output.open() as lines:
        return [json.loads(line) for line in lines]


def _sum(results: list[dict[str, Any]], key: str) -> int:
    return sum(result["usage"][key] for result in results)


def _note(name: str, side: str, measured: Measured) -> None:
    whole = f", {measured.whole:.2f} s with start and load" if measured.whole else ""
    tokens = f"{measured.prompt_tokens} prompt and {measured.completion_tokens} generated tokens"
    sys.stderr.write(f"{name}, {side}: {measured.seconds:.2f} s{whole}; {tokens}\n")


if __name__ == "__main__":
    sys.exit(main())
