"""The GPUs of this machine: does lokal use them, compute rightly, fast, and on nearly full cards?

    python benchmarks/gpu.py --reference BIN [--model FILE] [--unjudged] [--only speed]

Needs a llama-cpp-python that was built for the GPUs, and nobody else on them. BIN is the folder
that `build_reference.py --backend cuda` prints; FILE is by default what make_model.py writes into
--cache. Prints what it ran on, and what was measured of each claim. Ends with 1 if one does not
hold. With --unjudged speeds are measured and not judged: for devices that only pass for GPUs.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import make_model
from bench import llama_bench, ours
from compare import Comparison, interleaved, run

from lokal.doctor.probe import native
from lokal.engine.accounting import buffers
from lokal.gguf import check
from lokal.hardware.budget import Machine
from lokal.hardware.cpu import usable_cores
from lokal.hardware.devices import Device
from lokal.hardware.nvidia_smi import detailed
from lokal.hardware.placement import margin
from lokal.loading import LoadOptions
from lokal.planning import plan
from lokal.weights import Weights

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import ggufs

DECODE, BATCH, SEQUENCES = 0.95, 10, 64  # least ratios; sequences side by side
_PROMPTS = (
    "Once upon a time, there was",
    "The fox and the rabbit went to the river",
    "Tell me about a small house in the garden",
    "Hello",
)
_TOKENS = 64
# Numbers wide enough that rounding chooses no other word, and some hundred megabytes to divide.
_WIDE = {"blocks": 16, "width": 768, "heads": 12, "kv_heads": 4, "feed_forward": 2048}
_KINDS = {"weights": "weights (but those of the input)", "kv": "KV cache"}
_LEFT = 0.6  # of what a model would take on GPUs: what they have left for it
_NEAR = 4 << 20  # bytes


class Claim(NamedTuple):
    """What was measured; `holds` is None if it was not judged."""

    text: str
    measured: str
    holds: bool | None

    def __str__(self) -> str:
        verdict = "not judged" if self.holds is None else "yes" if self.holds else "**no**"
        return f"| {self.text} | {self.measured} | {verdict} |"


def main() -> int:
    options = _options()
    gpus = native().gpus
    if not gpus:
        raise SystemExit("llama.cpp finds no GPU here; `llm doctor` says why")
    _print(f"On {_surroundings(options)}\n")
    _print("| claim | measured | holds |\n|---|---|---|")
    failed = 0
    for name, judge in _CLAIMS.items():
        if options.only not in name:
            continue
        try:
            claims = list(judge(options, gpus))
        except SystemExit as error:  # a program that failed: its last words
            claims = [Claim(name, str(error).splitlines()[-1], False)]
        for claim in claims:
            _print(str(claim))
            failed += claim.holds is False
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="a GGUF to measure speeds with")
    parser.add_argument("--reference", type=Path, required=True, help="folder of llama.cpp's tools")
    parser.add_argument("--llm", type=Path, default=Path(sys.executable).with_name("llm"))
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/lokal-benchmarks")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--tokens", type=int, default=128, help="to generate where speed counts")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--unjudged", action="store_true", help="speeds are shown, not judged")
    parser.add_argument("--only", default="", help=f"of {', '.join(_CLAIMS)}: those with this text")
    options = parser.parse_args()
    if options.model is None and options.only in "speed":
        options.model = make_model.make(options.cache)
    return options


def _surroundings(options: argparse.Namespace) -> str:
    """Devices, drivers, versions: what the numbers are worth."""
    told = _doctor(options)
    devices = []
    for each in told["devices"]:
        memory = f", {each['total'] / 1e9:.2f} GB" if each["total"] else ""
        devices.append(f"{each['name']} ({each['description']}{memory})")
    drivers = {f"{gpu.name}: driver {gpu.driver}, {gpu.runtime}" for gpu in detailed()}
    versions = [f"{name} {told['versions'][name]}" for name in ("lokal", "llama-cpp-python")]
    versions.append(f"llama.cpp {told['versions']['llama.cpp']}")
    return "; ".join([*devices, *sorted(drivers), *versions])


def _used(options: argparse.Namespace, gpus: tuple[Device, ...]) -> Iterator[Claim]:
    """By what it says, and by llama.cpp's own accounting."""
    log = _run(options, "tiny", _PROMPTS[0], "-n", "8", "-vv").stderr
    where, n, of = _where(log)
    yield Claim("`llm run tiny` puts all layers on GPUs without a flag", where, 0 < n == of)
    found = buffers(log.splitlines())
    for kind, least in (("weights", 0.5), ("kv", 1)):
        sizes = [(buffer.size, _on(buffer.device, gpus)) for buffer in found if buffer.kind == kind]
        there, total = sum(size for size, on_gpu in sizes if on_gpu), sum(s for s, _ in sizes)
        text = f"llama.cpp has its {_KINDS[kind]} there"
        measured = f"{there / 1e6:.2f} of {total / 1e6:.2f} MB"
        yield Claim(text, measured, total > 0 and there >= least * total)


def _doctored(options: argparse.Namespace, gpus: tuple[Device, ...]) -> Iterator[Claim]:
    checks = _doctor(options)["checks"]
    said = [c["message"] for c in checks if c["name"] == "device" and "can be used" in c["message"]]
    yield Claim("`llm doctor` says that they can be used", "; ".join(said), len(said) == len(gpus))
    tests = [c for c in checks if c["name"] == "self-test"]
    words = "; ".join(test["message"] for test in tests)
    passed = len(tests) == 1 + len(gpus) and all(test["state"] == "ok" for test in tests)
    yield Claim("its self-test writes the same on every device", words, passed)


def _same_text(options: argparse.Namespace, _gpus: tuple[Device, ...]) -> Iterator[Claim]:
    same = _n_same(options, "tiny")
    text = f"greedy text of tiny is the CPU's, {_TOKENS} tokens each"
    yield Claim(text, f"{same} of {len(_PROMPTS)} prompts", same == len(_PROMPTS))


def _speed(options: argparse.Namespace, _gpus: tuple[Device, ...]) -> Iterator[Claim]:
    tokens = options.tokens
    samples = interleaved(
        options.rounds, ours(options, 1, 0, tokens), llama_bench(options, 1, 0, tokens)
    )
    decode = Comparison("decode", "tokens/s", *samples, DECODE, more_is_better=True)
    one, theirs = map(median, samples)
    measured = f"{one:.1f} and {theirs:.1f} tokens/s, ratio {decode.ratio:.3f}"
    text = f"decoding {options.model.name} is at least {DECODE} x llama-bench"
    yield Claim(text, measured, None if options.unjudged else decode.met)
    counts = f"1,{SEQUENCES}"
    command = [str(options.llm), "bench", str(options.model), "-j", counts, "-p", "0"]
    command += ["-n", str(tokens), "-r", str(options.rounds), "--json"]
    results = json.loads(run(command).output)["results"]
    one, many = (result["generate_per_second"]["median"] for result in results)
    measured = f"{many:.1f} and {one:.1f} tokens/s, ratio {many / one:.1f}"
    text = f"{SEQUENCES} sequences yield at least {BATCH} x the tokens/s of one"
    yield Claim(text, measured, None if options.unjudged else many >= BATCH * one)


def _full(options: argparse.Namespace, gpus: tuple[Device, ...]) -> Iterator[Claim]:
    with tempfile.TemporaryDirectory() as folder:
        path = ggufs.write(Path(folder) / "wide.gguf", type="F32", context=2048, **_WIDE)
        loaded = plan(Weights("wide", path, check(path), None), LoadOptions(), Machine(None, gpus))
        compute = loaded.needs.compute
        part = (sum(loaded.placement.load(loaded.needs)) - compute) * _LEFT / len(gpus)
        with _filled({gpu.name: margin(gpu) + compute + round(part) for gpu in gpus}) as left:
            answer = _run(options, str(path), _PROMPTS[0], "-n", "8", "-v", "--temp", "0")
            where, n, of = _where(answer.stderr)
            text = "cards with too little free memory get a part of the layers"
            free = " and ".join(f"{size / 1e9:.2f}" for size in left)
            yield Claim(text, f"{where}, with {free} GB free", 0 < n < of)
            said = re.search(r"note: (.* as memory allows.*)", answer.stderr)
            yield Claim("which `llm run` says", said[1] if said else "nothing", bool(said))
            same = _n_same(options, str(path), "--ignore-eos")
        measured = f"{same} of {len(_PROMPTS)} prompts"
        yield Claim("and greedy text is still the CPU's", measured, same == len(_PROMPTS))


_CLAIMS: dict[str, Callable[[argparse.Namespace, tuple[Device, ...]], Iterator[Claim]]] = {
    "use": _used,
    "doctor": _doctored,
    "text": _same_text,
    "speed": _speed,
    "full": _full,
}


@contextmanager
def _filled(wanted: dict[str, int]) -> Iterator[list[int]]:
    """Cards with no more than so many bytes free, as long as it lasts; yields what they have.

    What is free is asked of a fresh process each time: on some cards the first thing that every
    process does takes some hundred megabytes.
    """
    command = [sys.executable, str(Path(__file__).with_name("hold.py"))]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as holder:
        for _ in range(4):
            free = {gpu.name: gpu.free for gpu in native().gpus}
            for name, size in wanted.items():
                if holder.stdin and holder.stdout and free[name] - size > _NEAR:
                    holder.stdin.write(f"{name} {free[name] - size}\n")
                    holder.stdin.flush()
                    holder.stdout.readline()
        yield [gpu.free for gpu in native().gpus]  # the holder ends with its standard input


def _n_same(options: argparse.Namespace, model: str, *flags: str) -> int:
    """Prompts whose greedy answer is the one of the CPU alone."""
    flags = (*flags, "-n", str(_TOKENS), "--temp", "0", "--raw")
    answers = (
        [_run(options, model, prompt, *flags, *where).stdout for where in ((), _ON_CPU)]
        for prompt in _PROMPTS
    )
    return sum(here == there != "" for here, there in answers)


_ON_CPU = ("--gpu-layers", "0")


def _where(log: str) -> tuple[str, int, int]:
    """How a run describes where its layers are; how many are on GPUs, and how many there are."""
    for line in log.splitlines():
        if found := re.match(r"(\d+) of (\d+) layers on .*?(?=; )", line):
            others = re.findall(r", (\d+) on ", found[0])
            return found[0], sum(map(int, (found[1], *others))), int(found[2])
    return "on the CPU", 0, 0


def _on(buffer: str, gpus: tuple[Device, ...]) -> bool:
    return any(buffer.startswith(gpu.name) for gpu in gpus)


def _doctor(options: argparse.Namespace) -> Any:
    done = subprocess.run(
        [options.llm, "doctor", "--json", "--offline"], stdout=subprocess.PIPE, check=False
    )
    return json.loads(done.stdout)


def _run(options: argparse.Namespace, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(options.llm), "run", *words]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-500:]}")
    return done


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
