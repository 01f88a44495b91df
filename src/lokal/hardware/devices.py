"""The devices that the installed llama.cpp can compute on, as ggml lists them."""

from __future__ import annotations

from typing import Any, NamedTuple


class Device(NamedTuple):
    """One of ggml's devices.

    `name` is ggml's (CUDA0, Metal, CPU), `description` the maker's; `kind` is cpu, gpu (memory of
    its own), integrated (shares the main memory) or accelerator. `backend` is CUDA, Metal, Vulkan,
    CPU, … `free` and `total` are bytes, both 0 where it does not say. `id` is a PCI address, which
    tells that two backends mean the same hardware, or None. `native` is its ggml_backend_dev_t.
    """

    name: str
    description: str
    kind: str
    backend: str
    free: int
    total: int
    id: str | None
    native: int


def devices(ggml: Any) -> tuple[Device, ...]:
    """All devices, in ggml's order; `ggml` is its library, as `ctypes` loads it."""
    raise NotImplementedError


def gpus(found: tuple[Device, ...]) -> tuple[Device, ...]:
    """Those that llama.cpp would put layers on, in its order (llama_prepare_model_devices)."""
    raise NotImplementedError
