"""The build of llama.cpp, the devices that it finds, and those that it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lokal.doctor.finding import Finding, note, ok, warning
from lokal.doctor.probe import Native
from lokal.engine.build import version
from lokal.hardware.cpu import usable_cores
from lokal.hardware.gpu_build import best, install_hint
from lokal.hardware.gpus import Gpu
from lokal.hardware.memory import available_bytes, total_bytes
from lokal.hardware.nvidia_smi import detailed
from lokal.settings import variables

_LITTLE = 2 * 10**9  # bytes; a model of 1B parameters and its context
_ROOT = Path("/")
_CPUINFO = Path("/proc/cpuinfo")
# Backends of llama.cpp that can use a maker's GPUs; the first one is the fastest.
_BACKENDS = {"nvidia": ("CUDA", "Vulkan"), "amd": ("ROCm", "Vulkan"), "apple": ("MTL",)}
_WORDS = {"nvidia": ("nvidia", "geforce"), "amd": ("amd", "radeon"), "apple": ("apple",)}
_HIDING = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
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


def check_build(native: Native, cpuinfo: Path = _CPUINFO, root: Path = _ROOT) -> Iterator[Finding]:
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
            install_hint(best(root), version(), root),
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
    """Every device that llama.cpp could compute on, with its own memory."""
    used = {gpu.name for gpu in native.gpus}
    for device in native.devices:
        text = f"{device.name}: {device.description}"
        if device.kind != "cpu":  # whose memory is a check of its own
            free, total = device.free / 1e9, device.total / 1e9
            known = f"{free:.1f} of {total:.1f} GB free" if total else "it does not say its memory"
            text = f"{text}, {known}"
        yield ok("device", f"{text}; can be used" if device.name in used else text)


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


def check_gpus(native: Native | None, root: Path = _ROOT) -> Iterator[Finding]:
    """The GPUs of this machine that this llama.cpp does not use, and what would change that."""
    here = detailed(root)
    built = set(native.backends) if native else set()
    for vendor in dict.fromkeys(gpu.vendor for gpu in here):
        gpus = [gpu for gpu in here if gpu.vendor == vendor]
        backends = [name for name in _BACKENDS[vendor] if name in built]
        idle = [gpu for gpu in gpus if gpu.driver is None]
        n_found = _n_found(native, vendor, backends) if native else 0
        if not backends:
            yield _not_built(gpus, root)
        elif idle or not n_found:
            yield _not_found(idle or gpus, backends[0])
        elif n_found < len(gpus):
            yield _found_less(gpus, n_found)
    if here or (native and native.gpus):
        return
    if built.isdisjoint(name for names in _BACKENDS.values() for name in names):
        yield ok("gpu", "none in this machine; models run on the CPU")
    else:
        text = "llama.cpp is built for one and finds none; models run on the CPU"
        yield note("gpu", text, "if there is one, install its driver")


def _n_found(native: Native, vendor: str, backends: list[str]) -> int:
    """How many of a maker's GPUs llama.cpp would use."""
    n = 0
    for gpu in native.gpus:
        # Metal's registry has another name than its devices, and Vulkan has everybody's.
        backend = "MTL" if gpu.backend == "Metal" else gpu.backend
        theirs = backend != "Vulkan" or any(
            word in gpu.description.lower() for word in _WORDS[vendor]
        )
        n += backend in backends and theirs
    return n


def _found_less(gpus: list[Gpu], n_found: int) -> Finding:
    text = f"{_named(gpus)}: llama.cpp finds {n_found} of them"
    if hiding := variables(*_HIDING):
        return note("gpu", text, f"see {', '.join(hiding)}")
    return warning("gpu", text, "let this user open all of them in /dev, or restart their driver")


def _not_built(gpus: list[Gpu], root: Path) -> Finding:
    gpu = gpus[0]
    driver = "" if gpu.driver else " and there is no driver for it"
    text = f"{_named(gpus)}: this build of llama.cpp cannot use it{driver}, models run on the CPU"
    return warning("gpu", text, install_hint(gpu, version(), root))


def _not_found(gpus: list[Gpu], backend: str) -> Finding:
    gpu, name = gpus[0], _named(gpus)
    if gpu.driver is None:
        text = f"{name}: there is no driver for it, so models run on the CPU"
        return warning("gpu", text, f"install the driver of {gpu.vendor.upper()}")
    text = f"{name}: llama.cpp is built for {backend} and does not find it"
    if hiding := variables(*_HIDING):
        return warning("gpu", f"{text}, so models run on the CPU", f"see {', '.join(hiding)}")
    runs = f" runs {gpu.runtime} at most," if gpu.runtime else ""
    text = f"{text}: its driver {gpu.driver}{runs} may be too old for the build"
    return warning("gpu", text, "update the driver, or let this user open its devices in /dev")


def _named(gpus: list[Gpu]) -> str:
    return f"{len(gpus)} x {gpus[0].name}" if len(gpus) > 1 else gpus[0].name
