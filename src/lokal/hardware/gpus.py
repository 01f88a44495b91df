"""The GPUs that this machine has, whether or not the installed llama.cpp can use them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

_ROOT = Path("/")
_NVIDIA, _AMD = "10de", "1002"  # PCI vendors
_DISPLAY = "0x03"  # PCI class
_INTEGRATED = 2 << 30  # bytes; GPUs inside of AMD's processors are given less, cards have more


class Gpu(NamedTuple):
    """A graphics card, or the GPU of Apple's chips; what nobody told is None.

    `vendor` is nvidia, amd or apple; `memory` is in bytes, its own; `driver` is a version or a
    name, None where no driver has taken it. `compute` is NVIDIA's compute capability, such as 8.9.
    `runtime` is the newest CUDA that the driver can run, or the ROCm that is installed.
    """

    vendor: str
    name: str
    memory: int | None = None
    driver: str | None = None
    compute: str | None = None
    runtime: str | None = None


def present(
    root: Path = _ROOT, system: str = sys.platform, machine: str | None = None
) -> tuple[Gpu, ...]:
    """The GPUs that llama.cpp could use if it were built for them, out of a few small files.

    Not those inside of Intel's and AMD's processors, which are hardly faster than the cores.
    """
    if system == "darwin":
        return _apple(os.uname().machine if machine is None else machine)
    if system == "win32":
        driver = (root / "Windows/System32/nvcuda.dll").exists()
        return (Gpu("nvidia", "NVIDIA GPU", driver="installed"),) if driver else ()
    if (root / "dev/dxg").exists():  # the GPUs of Windows, in its subsystem for Linux
        driver = any((root / "usr/lib/wsl/lib").glob("libcuda.so*"))
        return (Gpu("nvidia", "NVIDIA GPU", driver="WSL"),) if driver else ()
    return (*_nvidia(root), *_amd(root))


def _apple(machine: str) -> tuple[Gpu, ...]:
    if machine != "arm64":
        return ()
    from lokal.hardware.apple import sysctl_text

    return (Gpu("apple", sysctl_text("machdep.cpu.brand_string") or "Apple GPU", driver="Metal"),)


def _nvidia(root: Path) -> tuple[Gpu, ...]:
    files = sorted((root / "proc/driver/nvidia/gpus").glob("*/information"))
    if files:
        driver = _text(root / "sys/module/nvidia/version") or "installed"
        return tuple(Gpu("nvidia", _model(_text(file)), driver=driver) for file in files)
    found = _cards(root, _NVIDIA)
    return tuple(Gpu("nvidia", f"NVIDIA GPU ({_text(card / 'device')})") for card in found)


def _amd(root: Path) -> tuple[Gpu, ...]:
    found = []
    for card in _cards(root, _AMD):
        memory = _text(card / "mem_info_vram_total")
        if memory.isdigit() and int(memory) >= _INTEGRATED:
            name = _text(card / "product_name") or f"AMD GPU ({_text(card / 'device')})"
            rocm = _text(root / "opt/rocm/.info/version").partition("-")[0]
            runtime = f"ROCm {rocm}" if rocm else None
            found.append(Gpu("amd", name, int(memory), "amdgpu", runtime=runtime))
    return tuple(found)


def _cards(root: Path, vendor: str) -> list[Path]:
    """The folders of a vendor's graphics cards, but those that a virtual machine has taken.

    Servers have hundreds of devices; a short list of them all spares most a look at each.
    """
    listed = _text(root / "proc/bus/pci/devices")
    if listed and f"\t{vendor}" not in listed:
        return []
    try:
        found = sorted((root / "sys/bus/pci/devices").iterdir())
    except OSError:
        return []
    return [
        card
        for card in found
        if _text(card / "vendor") == f"0x{vendor}"
        and _text(card / "class").startswith(_DISPLAY)
        and (card / "driver").resolve().name != "vfio-pci"
    ]


def _model(information: str) -> str:
    """The name out of `Model: \\t NVIDIA GeForce RTX 4090` and other lines."""
    for line in information.splitlines():
        label, _, value = line.partition(":")
        if label == "Model" and value.strip():
            return value.strip()
    return "NVIDIA GPU"


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
