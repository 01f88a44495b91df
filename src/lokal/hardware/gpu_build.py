"""How to get a llama-cpp-python that can use a GPU."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from shlex import quote as _posix
from shutil import which

from lokal.hardware.gpus import Gpu, present

_ROOT = Path("/")


def best(root: Path = _ROOT) -> Gpu | None:
    """The GPU of this machine to build for: the first with a driver."""
    return next((gpu for gpu in present(root) if gpu.driver), None)


def install_hint(gpu: Gpu | None, wanted: str, root: Path = _ROOT) -> str:
    """What `install_command` gives, and before it what that needs."""
    before = []
    if gpu and gpu.driver is None:
        before.append(f"the driver of {gpu.vendor.upper()}")
    if tools := missing_tools(gpu, root):
        before.append(tools)
    command = install_command(gpu, wanted, root=root)
    return f"install {' and '.join(before)}, then: {command}" if before else command


def missing_tools(gpu: Gpu | None, root: Path = _ROOT, system: str = sys.platform) -> str | None:
    """What must be installed before llama.cpp can be built, for a GPU if there is one; or None."""
    missing = []
    vendor = gpu.vendor if gpu else None
    if vendor == "nvidia" and _nvcc(root) is None:
        missing.append("the CUDA toolkit (nvcc)")
    elif gpu and vendor == "amd" and gpu.runtime:
        if not (which("hipcc") or (root / "opt/rocm/bin/hipcc").exists()):
            missing.append("the HIP compiler of ROCm (hipcc)")
    elif vendor == "amd" and not which("glslc"):
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
    wanted: str,
    *,
    python: str = sys.executable,
    pip: bool | None = None,
    root: Path = _ROOT,
    system: str = sys.platform,
) -> str:
    """What to type so that this Python gets a llama-cpp-python that is built for a GPU.

    Without one it is built for all that this CPU has. `wanted` is a version, or a range of them as
    in >=0.3,<0.4. `pip` and `system` are those of `installer`.
    """
    if pip is None:
        pip = find_spec("pip") is not None
    # What follows a + tells where a build came from, and an index knows nothing of it.
    range_ = wanted if wanted.startswith(">") else f"=={wanted.partition('+')[0]}"
    package = _quote(f"llama-cpp-python{range_}", system)
    program = installer(python=python, pip=pip, system=system)
    again = "--force-reinstall --no-cache-dir"
    if not pip:
        again = "--no-cache --reinstall-package llama-cpp-python"
    settings = {"CMAKE_ARGS": f"-DGGML_{_backend(gpu)}=on"}
    nvcc = _nvcc(root)
    if gpu and gpu.vendor == "nvidia" and nvcc and os.sep in nvcc:  # CMake looks on PATH only
        settings["CUDACXX"] = nvcc
    if system == "win32":
        before = "".join(f'$env:{name}="{value}"; ' for name, value in settings.items())
    else:
        before = "".join(f'{name}="{value}" ' for name, value in settings.items())
    return f"{before}{program} {again} --no-deps --no-binary llama-cpp-python {package}"


def installer(
    *, python: str = sys.executable, pip: bool | None = None, system: str = sys.platform
) -> str:
    """How to call what installs packages into this Python, and no other.

    `pip` says whether that Python has pip; else uv, which made it, does the work. `system` decides
    between the shells of Unix and PowerShell.
    """
    if pip is None:
        pip = find_spec("pip") is not None
    program = _quote(python, system)
    if not pip:
        return f"uv pip install --python {program}"
    return f"{'& ' if system == 'win32' else ''}{program} -m pip install"


def _backend(gpu: Gpu | None) -> str:
    if gpu is None:
        return "NATIVE"
    if gpu.vendor == "amd":
        return "HIP" if gpu.runtime else "VULKAN"
    return {"nvidia": "CUDA", "apple": "METAL"}[gpu.vendor]


def _nvcc(root: Path) -> str | None:
    """How to call NVIDIA's compiler: by name, or by path where its folder is not on PATH."""
    usual = root / "usr/local/cuda/bin/nvcc"
    return "nvcc" if which("nvcc") else str(usual) if usual.exists() else None


def _quote(text: str, system: str) -> str:
    return "'" + text.replace("'", "''") + "'" if system == "win32" else _posix(text)
