"""`llm pull` against `hf download` from a Hub on loopback, as ratios of medians of rounds.

    python benchmarks/pull.py DIRECTORY [--rounds 5] [--size 1000] [--json]

DIRECTORY is on a disk with three times the size free (a temporary one is made in it). Both sides
are whole processes with an empty cache: start-up, transfer, and for ours the header, the sha256 and
the fsync. Ends with 1 if a target is missed. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from compare import Comparison, interleaved, report, run

sys.path.append(os.fspath(Path(__file__).parents[1] / "tests"))  # for the stand-in
import ggufs
from standin import Standin

REPO, FILE = "demo/big", "big-Q4_K_M.gguf"
_OURS = "from lokal.cli.main import main; main()"
_THEIRS = "from huggingface_hub.cli.hf import main; main()"
_THROTTLE = 60_000_000  # bytes a second on each connection, as a content network may grant


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=1000, help="of the file, in MB")
    parser.add_argument("--only", default="", help="comparisons whose name contains this")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        return report(_comparisons(Path(directory), options), as_json=options.json)


def _comparisons(directory: Path, options: argparse.Namespace) -> Iterator[Comparison]:
    size = options.size * 1_000_000
    with Standin(directory / "hub") as hub:
        path = hub.add(REPO, FILE, b"")
        _write(path, size)
        hub.commit(REPO)  # which hashes the file once
        throttled = {"match": {"kind": "cdn"}, "throttle": _THROTTLE, "times": None}
        for name, rules, limit in [
            ("loopback", [], 1.0),
            (f"{_THROTTLE // 10**6} MB/s per connection", [throttled], 3.0),
        ]:
            if options.only in name:
                hub.faults(*rules)
                sides = [_puller(directory, hub, code, *args) for code, *args in _commands()]
                samples = interleaved(options.rounds, *sides)
                speeds = [[size / 1e6 / seconds for seconds in side] for side in samples]
                yield Comparison(name, "MB/s", *speeds, limit, more_is_better=True)


def _commands() -> list[list[str]]:
    return [[_OURS, "pull", REPO, "-q"], [_THEIRS, "download", REPO, FILE, "--quiet"]]


def _puller(directory: Path, hub: Standin, *command: str) -> Callable[[], float]:
    """Seconds of one run with an empty cache."""

    def pull() -> float:
        home = directory / "home"
        environment = {
            "HF_HOME": str(home),
            "HF_ENDPOINT": hub.endpoint,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "LOKAL_CONFIG_DIR": str(home / "config"),
            "LOKAL_STATE_DIR": str(home / "state"),
        }
        seconds = run([sys.executable, "-c", *command], environment).total
        shutil.rmtree(home)
        os.sync()  # so that no run pays for another one's dirty pages
        time.sleep(0.5)
        return seconds

    return pull


def _write(path: Path, size: int) -> None:
    """A model with a good header, and behind its tensors whatever fills the size."""
    ggufs.write(path)
    random = Random(1)
    with path.open("ab") as file:
        while file.tell() < size:
            file.write(random.randbytes(min(1 << 24, size - file.tell())))


if __name__ == "__main__":
    sys.exit(main())
