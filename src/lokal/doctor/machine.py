"""The build of llama.cpp, the devices that it finds, and those that it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lokal.doctor.finding import Finding, note, ok, warning
from lokal.doctor.probe import Native
from lokal.engine.build import version
from lokal.hardware.cpu import usable_cores
from lokal.hardware.memory import available_bytes, total_bytes

_LITTLE = 2 * 10**9  # bytes; a model of 1B parameters and its context
_CPUINFO = Path("/proc/cpuinfo")
# What makes llama.cpp faster by much, as Linux and as ggml call it.
_FLAGS = {
    "avx": "AVX",
    "avx2": "AVX2",
    "fma": "FMA",
    "f16c": "F16C",
    "avx512f": "AVX512",
    "avx512_vnni": "AVX512_VNNI",
    "asimddp": "DOTPROD",
    "i8mm": "MATMUL_INT8",
}


def check_build(native: Native, cpuinfo: Path = _CPUINFO) -> Iterator[Finding]:
    """What llama.cpp was built with, and what of this CPU it leaves lying."""
    sets = ", ".join(native.instruction_sets) or "none that it names"
    backends = ", ".join(native.backends)
    yield ok("build", f"llama.cpp {native.version} for {backends}; instruction sets: {sets}")
    unused = [ours for ours in _flags(cpuinfo) if ours not in native.instruction_sets]
    if unused:
        yield warning(
            "build",
            f"this CPU has {', '.join(unused)}, which this build does not use: it is slower than"
            " it could be",
            "CMAKE_ARGS=-DGGML_NATIVE=on pip install --force-reinstall --no-deps --no-cache-dir"
            f" --no-binary :all: llama-cpp-python=={version()}",
        )


def _flags(cpuinfo: Path) -> Iterator[str]:
    """Instruction sets of this CPU, by ggml's names; none where /proc does not list them."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    listed = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    flags = next(listed, "").split()
    yield from (ours for theirs, ours in _FLAGS.items() if theirs in flags)


def check_devices(native: Native) -> Iterator[Finding]:
    """Every device that llama.cpp could compute on, with its memory."""
    used = {gpu.name for gpu in native.gpus}
    for device in native.devices:
        free, total = device.free / 1e9, device.total / 1e9
        memory = f"{free:.1f} of {total:.1f} GB free" if total else "it does not say its memory"
        text = f"{device.name}: {device.description}, {memory}"
        yield ok("device", f"{text}; used without a flag" if device.name in used else text)


def check_host() -> Iterator[Finding]:
    """Cores and main memory that this process may use, and what limits them."""
    cores, without = usable_cores(), usable_cores(cgroups=())
    limited = f" of {without}, the cgroup's quota grants no more" if cores < without else ""
    yield ok("cpu", f"{cores} cores{limited}")
    free, total = available_bytes(), total_bytes()
    if free is None or total is None:
        yield note("memory", "nobody tells how much there is", "choose small models, or set -c")
        return
    limit = total_bytes(cgroups=())
    limited = (
        f", the cgroup's limit (the machine has {limit / 1e9:.1f})"
        if limit and total < limit
        else ""
    )
    text = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB available{limited}"
    if free < _LITTLE:
        yield warning("memory", f"{text}: too little for most models", "end what else runs here")
    else:
        yield ok("memory", text)
