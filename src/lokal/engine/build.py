"""What the installed llama.cpp can do, asked before there is a file to load."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

from lokal.engine.llama import native_library

_GPU = 1  # GGML_BACKEND_DEVICE_TYPE_GPU: with memory of its own, unlike 2, which shares ours


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


def gpu_bytes() -> int:
    """Memory of all GPUs that llama.cpp can use, in bytes; 0 if there are none or nobody tells.

    Apple's GPUs share the main memory and count for nothing here.
    """
    lib, path = native_library()
    if sys.platform == "darwin" or not lib.llama_supports_gpu_offload():
        return 0
    try:
        return _sum_devices(ctypes.CDLL(str(_ggml(path))))
    except (OSError, AttributeError):
        return 0


def _ggml(llama: Path) -> Path:
    """The library beside libllama that lists devices: libggml.so, ggml.dll."""
    return llama.with_name(llama.name.replace("llama", "ggml", 1))


def _sum_devices(ggml: ctypes.CDLL) -> int:
    ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    ggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    ggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    ggml.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    size = ctypes.POINTER(ctypes.c_size_t)
    ggml.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p, size, size]
    free, total, found = ctypes.c_size_t(), ctypes.c_size_t(), 0
    for index in range(ggml.ggml_backend_dev_count()):
        device = ggml.ggml_backend_dev_get(index)
        if ggml.ggml_backend_dev_type(device) == _GPU:
            ggml.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
            found += total.value
    return found
