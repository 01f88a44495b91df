"""Is the text the same? Greedy decoding by lokal and by llama-completion, byte for byte.

    python benchmarks/greedy.py --reference BIN [MODEL.gguf ...]

Compares tiny random-weight models of every architecture that the tests write, the embedded model,
and the files named. Ends with 1 if any text differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from compare import run

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import ggufs

_PROMPTS = ("Once upon a time, there was", "the world is [INST] 你好", "a\n\n  b\té🚀")
_SEEDS = (0, 1, 2)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("models", nargs="*", type=Path, help="more files to compare")
    parser.add_argument("--reference", type=Path, required=True, help="folder of llama.cpp's tools")
    parser.add_argument("--llm", type=Path, default=Path(sys.executable).with_name("llm"))
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    differ = 0
    with tempfile.TemporaryDirectory() as folder:
        for model in (*_tiny(Path(folder)), *options.models):
            for prompt in _PROMPTS:
                same = _same(options, model, prompt)
                differ += not same
                verdict = "same" if same else "DIFFERENT"
                sys.stdout.write(f"{verdict:9} {model.name} {prompt!r}\n")
    return 1 if differ else 0


def _tiny(folder: Path) -> Iterator[Path]:
    kinds = {"llama": {}, "mixtral": {}, "grok": {}, "llama-q8": {"type": "Q8_0"}}
    for name, knobs in {**kinds, "llama-bpe": {"vocab": "bpe"}}.items():
        for seed in _SEEDS:
            arch = name.partition("-")[0]
            yield ggufs.write(folder / f"{name}-{seed}.gguf", arch, seed=seed, **knobs)
    embedded = Path(str(files("lokal") / "data" / "tiny.gguf"))
    if embedded.exists():
        yield embedded


def _same(options: argparse.Namespace, model: Path, prompt: str) -> bool:
    sizes = ["-n", str(options.tokens), "--temp", "0", "--ignore-eos", "-c", "512", "-t", "1"]
    ours = [str(options.llm), "run", str(model), prompt, "--raw", *sizes]
    theirs = [str(options.reference / "llama-completion"), "-m", str(model), "-p", prompt, *sizes]
    theirs += ["-no-cnv", "--no-display-prompt", "--no-warmup", "--simple-io", "--no-escape"]
    text = _comparable(run(ours).output)
    # llama-completion writes from a thread, and now and then loses text when it ends.
    return any(_comparable(run(theirs).output) == text for _ in range(8))


def _comparable(output: bytes) -> bytes:
    """llama-completion prints C strings, without the NULs that a byte token may be."""
    return output.rstrip(b"\n").replace(b"\0", b"")


if __name__ == "__main__":
    sys.exit(main())
