"""The memory of this machine, and what of it the KV cache of a model may take."""

from __future__ import annotations

from typing import NamedTuple

from lokal.hardware.devices import Device


class Machine(NamedTuple):
    """Bytes of main memory that are `available`, None if unknown, and GPUs for layers to go to."""

    available: int | None
    gpus: tuple[Device, ...] = ()
