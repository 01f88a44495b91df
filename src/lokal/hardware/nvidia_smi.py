"""What NVIDIA's own tool tells of GPUs."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from shutil import which

from lokal.hardware.gpus import Gpu, present
from lokal.hardware.program import run

_ROOT = Path("/")
_SMI = "nvidia-smi", "usr/lib/wsl/lib/nvidia-smi", "Windows/System32/nvidia-smi.exe"
_PATIENCE = 5  # seconds for each call, which hangs where the driver does
_QUERY = "--query-gpu=name,memory.total,driver_version,compute_cap"


def detailed(
    root: Path = _ROOT, system: str = sys.platform, machine: str | None = None
) -> tuple[Gpu, ...]:
    """The GPUs of this machine as `present` finds them, with what the tool adds; takes seconds."""
    found = present(root, system, machine)
    told = _told(root) if any(each.vendor == "nvidia" for each in found) else ()
    return (*told, *(each for each in found if each.vendor != "nvidia")) if told else found


def _told(root: Path) -> tuple[Gpu, ...]:
    """What nvidia-smi says, nothing if it cannot or will not."""
    places = [which(_SMI[0]), *(str(root / each) for each in _SMI[1:])]
    smi = next((each for each in places if each and Path(each).exists()), None)
    if smi is None:
        return ()
    rows = _output([smi, _QUERY, "--format=csv,noheader"]).splitlines()
    found = [gpu for gpu in map(_row, rows) if gpu]
    cuda = _cuda(_output([smi])) if found else None
    return tuple(gpu._replace(runtime=cuda) for gpu in found)


def _row(line: str) -> Gpu | None:
    """A line such as `NVIDIA GeForce RTX 4090, 24564 MiB, 550.54.14, 8.9`."""
    parts = [part.strip() for part in line.rsplit(",", 3)]
    if len(parts) < 4 or not parts[0] or not parts[2][:1].isdigit():
        return None
    name, memory, driver, compute = parts
    size, _, unit = memory.partition(" ")
    known = int(size) << 20 if size.isdecimal() and unit == "MiB" else None
    return Gpu("nvidia", name, known, driver, compute if compute[:1].isdigit() else None)


def _cuda(overview: str) -> str | None:
    """`CUDA Version: 12.4` in the head of the tool's table; newer ones put a word between."""
    found = re.search(r"\bCUDA (?:\w+ )?Version *: *(\d+\.\d+)", overview)
    return f"CUDA {found[1]}" if found else None


def _output(command: list[str]) -> str:
    """What a program writes; nothing if it fails, or takes too long."""
    try:
        ended = run(command, _PATIENCE)
    except OSError:
        return ""
    return ended.output.decode("utf-8", "replace") if ended.code == 0 else ""
