"""What a model needs in memory: predicted, accounted for by llama.cpp, and truly resident.

    python benchmarks/fit.py DIRECTORY [--model FILE ...]

Each row is a process of its own that loads a file, computes 512 tokens and looks at its peak
resident set, less what it had before it loaded. The models have the sizes of published ones and
holes for weights (tests/shapes.py), so nothing is downloaded and little written. The exit code is 1
if a prediction is off by more than a tenth and 8 MB; where the context is not filled, less may be
resident.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import ggufs
import shapes

import lokal
from lokal import gguf
from lokal.engine.llama import native_library, native_log
from lokal.hardware.fit import Room, needs

CONTEXTS = (("512", "f16"), ("4096", "q8_0"), ("32768", "f16"))
TYPES = {"f16": 1, "q8_0": 8}  # enum ggml_type
TOKENS, FILLED = 512, 4096
MIB = 1 << 20
SMALL = 8 * MIB
PROCESS = 8 * MIB  # bytes for stacks, graphs and the like, which no account has
REPACKED = "CPU_REPACK"
WITHOUT_FLASH = "grok"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("directory", type=Path, help="where to write the models")
    parser.add_argument("--model", type=Path, action="append", default=[], help="one more model")
    parser.add_argument("--row", nargs=2, metavar=("CELLS", "TYPE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        sys.stdout.write(json.dumps(row(options.directory, int(options.row[0]), options.row[1])))
        return 0
    options.directory.mkdir(parents=True, exist_ok=True)
    sys.stdout.write(
        "| model | context | KV | predicted | llama.cpp | ratio | resident | ratio |\n"
    )
    sys.stdout.write("|---|---|---|---|---|---|---|---|\n")
    missed = 0
    for path in models(options.directory, options.model):
        for cells, kind in CONTEXTS:
            if WITHOUT_FLASH in path.name and kind != "f16":
                continue
            missed += show(path, cells, kind)
    return 1 if missed else 0


def models(directory: Path, more: list[Path]) -> list[Path]:
    tiny = Path(lokal.__file__).parent / "data" / "tiny.gguf"
    small = ("llama", "mixtral", "grok", "gemma3")
    made = [
        ggufs.write(directory / f"tiny-{kind}.gguf", kind, heads=2, kv_heads=1) for kind in small
    ]
    return [tiny, *made, *(shapes.write(directory, name) for name in shapes.SHAPES), *more]


def show(path: Path, cells: str, kind: str) -> bool:
    """Print a row; whether it is off."""
    command = [sys.executable, __file__, str(path), "--row", cells, kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    predicted, off = found["predicted"], False
    line = [path.stem, cells, kind, f"{predicted / MIB:.1f}"]
    for name in ("account", "resident"):
        actual = found[name]
        allowed = max(0.1 * actual, PROCESS)
        less_is_right = name == "resident" and int(cells) > found["computed"]
        off |= actual - predicted > allowed or (predicted - actual > allowed and not less_is_right)
        line += [f"{actual / MIB:.1f}", f"{predicted / actual:.3f}"]
    sys.stdout.write(f"| {' | '.join(line)} |{' **off**' if off else ''}\n")
    sys.stdout.flush()
    return off


def row(path: Path, cells: int, kind: str) -> dict[str, Any]:
    flash = WITHOUT_FLASH not in path.name
    room = Room(cells, key_type=kind, value_type=kind, flash=flash)
    predicted = needs(gguf.check(path), room).total
    lib, _ = native_library()
    before = status("VmRSS")
    lines: list[str] = []
    with native_log(lines.append):
        params = lib.llama_model_default_params()
        params.n_gpu_layers = 0
        model = lib.llama_model_load_from_file(os.fsencode(path), params)
        params = lib.llama_context_default_params()
        params.n_ctx, params.n_outputs_max, params.flash_attn_type = cells, 1, int(flash)
        params.type_k = params.type_v = TYPES[kind]
        params.swa_full = room.whole_windows
        params.n_threads = params.n_threads_batch = max(1, (os.cpu_count() or 1) // 2)
        context = lib.llama_init_from_model(model, params)
        tokens = (lib.llama_token * TOKENS)(*[3] * TOKENS)
        # Masks and scores grow with what is in the context; only small models fill some of it.
        computed = min(cells, FILLED if path.stat().st_size < SMALL else TOKENS)
        for _ in range(computed // TOKENS):
            if lib.llama_decode(context, lib.llama_batch_get_one(tokens, TOKENS)):
                sys.exit(f"{path}: llama.cpp could not compute it")
    sizes = dict.fromkeys(("account", REPACKED), 0.0)
    for words in (line.split() for line in lines if "buffer size =" in line):
        size = float(words[-2]) * MIB
        sizes[REPACKED if REPACKED in words else "account"] += size
    # Repacked weights are copies; the pages they were read from are never looked at again.
    resident = status("VmHWM") - before - sizes[REPACKED]
    return {
        "predicted": predicted,
        "account": sizes["account"],
        "resident": resident,
        "computed": computed,
    }


def status(name: str) -> int:
    """Bytes, by /proc/self/status."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(text.split(f"{name}:")[1].split()[0]) * 1024


if __name__ == "__main__":
    sys.exit(main())
