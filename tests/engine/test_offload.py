"""What llama.cpp is told of devices."""

from __future__ import annotations

import ctypes
import re

from lokal.engine.llama import native_library
from lokal.engine.offload import CPU_ONLY, MAX_DEVICES, Offload


def params(offload: Offload) -> tuple[object, list[int]]:
    """The structure filled in, and the devices that it points to."""
    lib, _ = native_library()
    filled = lib.llama_model_default_params()
    offload.apply(filled)
    pointers = ctypes.cast(filled.devices, ctypes.POINTER(ctypes.c_void_p))
    devices = []
    while pointers[len(devices)]:
        devices.append(pointers[len(devices)])
    return filled, devices


def test_the_cpu_alone_is_an_empty_list_of_devices() -> None:
    """Without a list llama.cpp would make a context on every GPU, and copy large matrices there."""
    filled, devices = params(CPU_ONLY)
    assert devices == []
    assert (filled.n_gpu_layers, filled.load_mode) == (0, -1)  # type: ignore[attr-defined]
    assert not filled.tensor_split  # type: ignore[attr-defined]
    assert not filled.tensor_buft_overrides  # type: ignore[attr-defined]


def test_there_is_a_share_for_each_device() -> None:
    """llama.cpp reads as many, and llama_model_params hold no number."""
    lib, _ = native_library()
    assert lib.llama_max_devices() == MAX_DEVICES
    _, devices = params(Offload(tuple(range(1, 17)), (1,) * 16, 16))
    assert len(devices) == 16


def test_layers_experts_and_devices_are_passed_on() -> None:
    """Layers of each GPU are their shares; experts are named by the layers that they belong to."""
    filled, devices = params(
        Offload((11, 22), (3, 5), 10, "row", experts_in_memory=2, memory=77, load_mode="mlock")
    )
    assert devices == [11, 22]
    assert (filled.n_gpu_layers, filled.split_mode, filled.load_mode) == (8, 2, 2)  # type: ignore[attr-defined]
    assert [*filled.tensor_split[:3]] == [3.0, 5.0, 0.0]  # type: ignore[attr-defined]
    overrides = ctypes.cast(filled.tensor_buft_overrides, ctypes.POINTER(ctypes.c_void_p))  # type: ignore[attr-defined]
    assert (overrides[1], overrides[2]) == (77, None)
    pattern = re.compile(ctypes.string_at(overrides[0]).decode())
    names = [f"blk.{i}.{name}.weight" for i in range(30) for name in _NAMES]
    assert [name for name in names if pattern.search(name)] == [
        f"blk.{i}.{name}.weight" for i in (2, 3) for name in _NAMES[:4]
    ]


_NAMES = [
    "ffn_up_exps",
    "ffn_gate_exps",
    "ffn_down_exps",
    "ffn_gate_up_exps",
    "ffn_up",
    "ffn_up_shexp",
    "ffn_gate_inp",
    "attn_q",
]
