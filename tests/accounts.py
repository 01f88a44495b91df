"""llama.cpp's own accounting of memory, as its log states it; nothing is allocated for it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from lokal.engine.backend import FLASH, TYPES
from lokal.engine.llama import native_library, native_log
from lokal.hardware.fit import Room

MIB = 1 << 20
# In a cache that is not allocated the buffer is empty, but its size is said all the same.
_LINE = re.compile(
    r"(?P<part>output|compute) buffer size = +(?P<size>[\d.]+) MiB"
    r"|(?P<cache>llama_kv_cache|llama_memory_recurrent): size = +(?P<cells>[\d.]+) MiB"
)


class Account(NamedTuple):
    """Bytes, with the two decimals of a MiB that the log has."""

    model: float
    cache: float
    compute: float
    output: float

    @property
    def total(self) -> float:
        return sum(self)


class Header(NamedTuple):
    """A file of which llama.cpp has read the header; gives an account of contexts."""

    lib: Any
    native: Any

    def account(self, room: Room) -> Account:
        lib = self.lib
        params = lib.llama_context_default_params()
        params.n_ctx, params.n_batch = room.n_cells, room.n_batch
        params.n_seq_max = params.n_outputs_max = room.n_slots
        params.kv_unified = room.n_streams == 1
        params.swa_full = room.whole_windows
        params.flash_attn_type = FLASH["on" if room.flash else "off"]
        params.type_k, params.type_v = TYPES[room.key_type], TYPES[room.value_type]
        lines: list[str] = []
        with native_log(lines.append):
            context = lib.llama_init_from_model(self.native, params)
        assert context, lines[-3:]
        lib.llama_free(context)
        sizes = _sizes(lines)
        model = float(lib.llama_model_size(self.native))
        return Account(model, sizes["cache"], sizes["compute"], sizes["output"])

    @property
    def keeps_state(self) -> bool:
        lib = self.lib
        return bool(
            lib.llama_model_is_recurrent(self.native) or lib.llama_model_is_hybrid(self.native)
        )


@contextmanager
def read(path: Path) -> Iterator[Header]:
    """Have llama.cpp read a file's header, for the CPU alone and without repacking."""
    lib, _ = native_library()
    params = lib.llama_model_default_params()
    params.no_alloc, params.load_mode = True, lib.LLAMA_LOAD_MODE_NONE
    params.use_extra_bufts, params.n_gpu_layers = False, 0
    lines: list[str] = []
    with native_log(lines.append):
        model = lib.llama_model_load_from_file(os.fsencode(path), params)
    assert model, lines[-3:]
    try:
        yield Header(lib, model)
    finally:
        lib.llama_model_free(model)


def _sizes(lines: list[str]) -> dict[str, float]:
    sizes = {"cache": 0.0, "compute": 0.0, "output": 0.0}
    for match in filter(None, map(_LINE.search, lines)):
        size = match["size"] or match["cells"]
        sizes[match["part"] or "cache"] += float(size) * MIB
    return sizes
