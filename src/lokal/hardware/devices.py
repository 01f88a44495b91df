"""The devices that the installed llama.cpp can compute on, as ggml lists them."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

# enum ggml_backend_dev_type; what is not here is never listed.
_KINDS = {0: "cpu", 1: "gpu", 2: "integrated", 3: "accelerator"}
_METAL = "MTL"  # calls all its devices GPUs


class Device(NamedTuple):
    """One of ggml's devices.

    `name` is ggml's (CUDA0, MTL0, CPU), `description` the maker's; `kind` is cpu, gpu (memory of
    its own), integrated (shares the main memory) or accelerator. `backend` is CUDA, ROCm, Metal,
    Vulkan, RPC, CPU, … `free` and `total` are bytes, both 0 where it does not say. `id` is a PCI
    address, which tells that two backends mean the same hardware, or None. `native` is its
    ggml_backend_dev_t.
    """

    name: str
    description: str
    kind: str
    backend: str
    free: int
    total: int
    id: str | None
    native: int

    @property
    def shares_memory(self) -> bool:
        """Whether its memory is the main memory."""
        return self.kind == "integrated"

    @property
    def silent(self) -> bool:
        """Whether it does not say what memory of its own it has.

        CUDA is silent where cudaMemGetInfo fails, as on a card that others have filled.
        """
        return not self.shares_memory and not self.total


class Props(ctypes.Structure):
    """struct ggml_backend_dev_props, and room for what later versions may append."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("description", ctypes.c_char_p),
        ("memory_free", ctypes.c_size_t),
        ("memory_total", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("device_id", ctypes.c_char_p),
        ("capabilities_and_more", ctypes.c_byte * 256),
    )


def devices(ggml: Any) -> tuple[Device, ...]:
    """All devices, in ggml's order; `ggml` is what `engine.build.ggml` returns."""
    found = map(ggml.ggml_backend_dev_get, range(ggml.ggml_backend_dev_count()))
    return tuple(_device(ggml, native) for native in found)


def gpus(found: tuple[Device, ...]) -> tuple[Device, ...]:
    """Those that llama.cpp would put layers on, in its order (llama_prepare_model_devices).

    Other machines' GPUs (RPC) come first. Of hardware that two backends know, the first one's
    counts. GPUs that share the main memory are only used where there is no other in this machine,
    and only those of one backend.
    """
    remote = [each for each in found if each.kind == "gpu" and each.backend == "RPC"]
    local: list[Device] = []
    for each in found:
        if each.kind == "gpu" and each.backend != "RPC":
            ids = {other.id for other in local}
            if each.id is None or each.id not in ids:
                local.append(each)
    shared = [each for each in found if each.kind == "integrated"]
    shared = [each for each in shared if each.backend == shared[0].backend]
    return (*remote, *(local or shared))


def _device(ggml: Any, native: int) -> Device:
    free, total, props = ctypes.c_size_t(), ctypes.c_size_t(), Props()
    ggml.ggml_backend_dev_memory(native, ctypes.pointer(free), ctypes.pointer(total))
    ggml.ggml_backend_dev_get_props(native, ctypes.pointer(props))
    registry = ggml.ggml_backend_dev_backend_reg(native)
    backend = _text(ggml.ggml_backend_reg_name(registry))
    kind = _KINDS.get(ggml.ggml_backend_dev_type(native), "accelerator")
    metal = backend == _METAL
    return Device(
        _text(ggml.ggml_backend_dev_name(native)),
        _text(ggml.ggml_backend_dev_description(native)),
        "integrated" if metal else kind,
        "Metal" if metal else backend,
        free.value,
        total.value,
        _text(props.device_id) or None,
        native,
    )


def _text(native: bytes | None) -> str:
    return (native or b"").decode("utf-8", "replace").strip()
