"""Where llama.cpp puts the weights of a model."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

# enum llama_split_mode and llama_load_mode
SPLITS = {"none": 0, "layer": 1, "row": 2}
LOADS = {"auto": -1, "none": 0, "mmap": 1, "mlock": 2, "mmap+mlock": 3, "dio": 4}
MAX_DEVICES = 16  # llama_max_devices()


class Offload(NamedTuple):
    """The devices for the last layers, and how the file is read; by default all is on the CPU.

    `devices` are ggml_backend_dev_t, at most `MAX_DEVICES`; `layers[i]` layers go to the i-th of
    them, one after another, and the output layer counts as the last. `n_layers` is how many the
    model has, counted likewise. The experts of the first `experts_in_memory` of those that are
    offloaded stay where `memory`, a ggml_backend_buffer_type_t, is.
    """

    devices: tuple[int, ...] = ()
    layers: tuple[int, ...] = ()
    n_layers: int = 0
    split: str = "layer"
    experts_in_memory: int = 0
    memory: int = 0
    load_mode: str = "auto"

    def apply(self, params: Any) -> None:
        """Write it into llama_model_params, which borrow what they point to: keep them together."""
        devices = (ctypes.c_void_p * (len(self.devices) + 1))(*self.devices, None)
        params.devices = ctypes.cast(devices, ctypes.c_void_p)
        params.n_gpu_layers = sum(self.layers)
        params.split_mode = SPLITS[self.split]
        params.load_mode = LOADS[self.load_mode]
        shares = (ctypes.c_float * MAX_DEVICES)(*self.layers)
        if self.devices:
            params.tensor_split = shares
        pattern = ctypes.create_string_buffer(self.pattern.encode())
        # Pairs of a pattern and a buffer type; an empty one ends them.
        overrides = (ctypes.c_void_p * 4)(ctypes.addressof(pattern), self.memory, None, None)
        if self.experts_in_memory:
            params.tensor_buft_overrides = ctypes.cast(overrides, ctypes.c_void_p)
        params.borrowed = (devices, shares, pattern, overrides)

    @property
    def pattern(self) -> str:
        """The names of the experts' tensors that stay in main memory, as a regular expression."""
        first = self.n_layers - sum(self.layers)
        numbers = "|".join(str(first + index) for index in range(self.experts_in_memory))
        return rf"blk\.({numbers})\.ffn_(up|down|gate|gate_up)_(ch|)exps"


CPU_ONLY = Offload()
