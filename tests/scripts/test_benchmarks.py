"""The comparisons are run by hand; that they can be is seen here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_they_find_what_they_import() -> None:
    """What is moved in the package, or among themselves, is moved in all of them."""
    names = sorted(path.stem for path in BENCHMARKS.glob("*.py"))
    assert "single" in names
    code = f"import importlib\nfor name in {names}: importlib.import_module(name)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.path.insert(0, {str(BENCHMARKS)!r})\n{code}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
