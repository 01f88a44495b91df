"""What the installed llama.cpp can do, asked before there is a file to load."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

from lokal.engine.llama import native_library

_SIZE, _POINTER, _TEXT = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_char_p
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {  # of ggml: what they return, what they take
    "ggml_backend_dev_count": (_SIZE, []),
    "ggml_backend_dev_get": (_POINTER, [_SIZE]),
    "ggml_backend_dev_name": (_TEXT, [_POINTER]),
    "ggml_backend_dev_description": (_TEXT, [_POINTER]),
    "ggml_backend_dev_type": (ctypes.c_int, [_POINTER]),
    "ggml_backend_dev_memory": (None, [_POINTER, _POINTER, _POINTER]),
    "ggml_backend_dev_get_props": (None, [_POINTER, _POINTER]),
    "ggml_backend_dev_backend_reg": (_POINTER, [_POINTER]),
    "ggml_backend_reg_name": (_TEXT, [_POINTER]),
    "ggml_backend_reg_count": (_SIZE, []),
    "ggml_backend_reg_get": (_POINTER, [_SIZE]),
}
# What ggml lists among the instruction sets that it was compiled for.
_NO_INSTRUCTIONS = {"LLAMAFILE", "ACCELERATE", "CPU_HBM", "OPENMP", "KLEIDIAI", "REPACK"}


def knows(architecture: str) -> bool:
    """False if llama.cpp surely cannot load that architecture.

    Its library holds the names of all architectures that it knows, each ended by a NUL; there is
    no function that lists them. A name may also stand there for something else, so that True is
    no promise.
    """
    _, path = native_library()
    try:
        return architecture.encode() + b"\0" in path.read_bytes()
    except OSError:
        return True


def version() -> str:
    """Of the binding, llama-cpp-python."""
    from importlib.metadata import version as installed

    return installed("llama-cpp-python")


def llama_version() -> str:
    """Of llama.cpp itself, in its own words."""
    lib, _ = native_library()
    return str(lib.llama_version().decode("utf-8", "replace"))


def supports_gpu() -> bool:
    """Whether there may be a GPU among the devices; a build for CPUs says no at once."""
    lib, _ = native_library()
    return bool(lib.llama_supports_gpu_offload())


def ggml() -> Any:
    """The functions of ggml that list devices and backends, with their types."""
    lib, path = native_library()
    library = _Windows(path) if sys.platform == "win32" else _beside(lib._lib)
    for name, (returns, takes) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = returns, takes
    return library


def backends() -> list[str]:
    """What this build computes with, by ggml's names: CUDA, ROCm, MTL, Vulkan, BLAS, CPU, …"""
    library = ggml()
    found = map(library.ggml_backend_reg_get, range(library.ggml_backend_reg_count()))
    return [library.ggml_backend_reg_name(each).decode() for each in found]


def instruction_sets() -> list[str]:
    """Those that the CPU's code was compiled for, by ggml's names: AVX2, FMA, NEON, …"""
    lib, _ = native_library()
    return _instruction_sets(lib.llama_print_system_info().decode("utf-8", "replace"))


def _instruction_sets(info: str) -> list[str]:
    """Out of `CPU : SSE3 = 1 | AVX = 1 | SVE_CNT = 32 | CUDA : ARCHS = 890 | …`."""
    found, backend = [], ""
    for fact in info.split("|"):
        before, _, setting = fact.rpartition(" : ")
        backend = before.strip() or backend
        name, _, value = (part.strip() for part in setting.partition("="))
        if backend == "CPU" and value == "1" and name not in _NO_INSTRUCTIONS:
            found.append(name)
    return found


def _beside(llama: ctypes.CDLL) -> ctypes.CDLL:
    """Libllama's handle, which finds the functions of the libraries that it needs as well.

    To load libggml by its path would be wrong: wheels hold copies where others have links, and a
    second copy has devices of its own. The object is a new one, as types are kept in it.
    """
    return ctypes.CDLL(llama._name, handle=llama._handle)


class _Windows:
    """The functions of ggml.dll and ggml-base.dll: there, every library has only its own."""

    def __init__(self, llama: Path) -> None:
        names = [llama.name.replace("llama", name, 1) for name in ("ggml", "ggml-base")]
        self._libraries = [ctypes.CDLL(str(llama.with_name(name))) for name in names]

    def __getattr__(self, name: str) -> Any:
        for library in self._libraries:
            if hasattr(library, name):
                return getattr(library, name)
        raise AttributeError(name)
