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
_SMI = "nvidia-smi", "usr/lib/wsl/lib/nvidia-smi", "Windows/System32/nvidia-smi.exe"
_PATIENCE = 5  # seconds for each call of nvidia-smi, which hangs where the driver does
_QUERY = "--query-gpu=name,memory.total,driver_version,compute_cap"


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


def detailed(
    root: Path = _ROOT, system: str = sys.platform, machine: str | None = None
) -> tuple[Gpu, ...]:
    """The same, with what NVIDIA's own tool tells, which may take seconds."""
    found = present(root, system, machine)
    told = _told(root) if any(each.vendor == "nvidia" for each in found) else ()
    return (*told, *(each for each in found if each.vendor != "nvidia")) if told else found


def missing_tools(gpu: Gpu, root: Path = _ROOT, system: str = sys.platform) -> str | None:
    """What must be installed before llama.cpp can be built for a GPU; None if all is there."""
    from shutil import which

    missing = []
    if gpu.vendor == "nvidia" and _nvcc(root) is None:
        missing.append("the CUDA toolkit (nvcc)")
    elif gpu.vendor == "amd" and gpu.runtime:
        if not (which("hipcc") or (root / "opt/rocm/bin/hipcc").exists()):
            missing.append("the HIP compiler of ROCm (hipcc)")
    elif gpu.vendor == "amd" and not which("glslc"):
        missing.append("the Vulkan SDK (glslc)")
    if system == "darwin":  # where clang is a program that offers to install clang
        tools = "Library/Developer/CommandLineTools", "Applications/Xcode.app"
        if not any((root / each).exists() for each in tools):
            missing.append("Apple's compiler (xcode-select --install)")
    elif system != "win32" and not any(map(which, ("c++", "g++", "clang++"))):
        missing.append("a C++ compiler (g++)")  # Windows hides its own, and CMake finds it
    return " and ".join(missing) or None


def install_command(
    gpu: Gpu | None,
    version: str,
    *,
    python: str = sys.executable,
    pip: bool | None = None,
    root: Path = _ROOT,
    system: str = sys.platform,
) -> str:
    """What to type so that this Python gets llama-cpp-python of that version, built for a GPU.

    Without one it is built for all that this CPU has. `pip` says whether that Python has pip; else
    uv, which made it, does the work. `system` decides between the shells of Unix and PowerShell.
    """
    if pip is None:
        from importlib.util import find_spec

        pip = find_spec("pip") is not None
    quote = _powershell if system == "win32" else _posix
    package = quote(f"llama-cpp-python=={version}")
    if pip:
        program = f"{quote(python)} -m pip install --force-reinstall --no-cache-dir"
        if system == "win32":
            program = f"& {program}"
    else:
        program = f"uv pip install --python {quote(python)} --no-cache"
        program += " --reinstall-package llama-cpp-python"
    settings = {"CMAKE_ARGS": f"-DGGML_{_backend(gpu)}=on"}
    nvcc = _nvcc(root)
    if gpu and gpu.vendor == "nvidia" and nvcc and os.sep in nvcc:  # CMake looks on PATH only
        settings["CUDACXX"] = nvcc
    if system == "win32":
        before = "".join(f'$env:{name}="{value}"; ' for name, value in settings.items())
    else:
        before = "".join(f'{name}="{value}" ' for name, value in settings.items())
    return f"{before}{program} --no-deps --no-binary llama-cpp-python {package}"


def _backend(gpu: Gpu | None) -> str:
    if gpu is None:
        return "NATIVE"
    if gpu.vendor == "amd":
        return "HIP" if gpu.runtime else "VULKAN"
    return {"nvidia": "CUDA", "apple": "METAL"}[gpu.vendor]


def _nvcc(root: Path) -> str | None:
    """How to call NVIDIA's compiler: by name, or by path where its folder is not on PATH."""
    from shutil import which

    usual = root / "usr/local/cuda/bin/nvcc"
    return "nvcc" if which("nvcc") else str(usual) if usual.exists() else None


def _posix(text: str) -> str:
    from shlex import quote

    return quote(text)


def _powershell(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


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


def _told(root: Path) -> tuple[Gpu, ...]:
    """What nvidia-smi says, nothing if it cannot or will not."""
    from shutil import which

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
    import re

    found = re.search(r"\bCUDA (?:\w+ )?Version *: *(\d+\.\d+)", overview)
    return f"CUDA {found[1]}" if found else None


def _output(command: list[str]) -> str:
    """What a program writes; nothing if it fails, or takes too long.

    One that waits for a driver cannot be killed, so nobody waits for it for ever.
    """
    import subprocess
    from contextlib import suppress

    quiet = subprocess.DEVNULL
    try:
        child = subprocess.Popen(command, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet)
    except OSError:
        return ""
    try:
        output, _ = child.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        with suppress(subprocess.TimeoutExpired):
            child.wait(1)
        return ""
    finally:
        if child.stdout:
            child.stdout.close()
    return output.decode("utf-8", "replace") if child.returncode == 0 else ""
