"""Which layers go to which GPU."""

from __future__ import annotations

from typing import NamedTuple

from lokal.hardware.devices import Device
from lokal.hardware.fit import Needs

AUTO, ALL = None, -1


class Wishes(NamedTuple):
    """What the user said of GPUs.

    `layers` is AUTO, ALL or a number, the output layer counted last; `split` is layer, row or none;
    `shares` are the parts of several GPUs, or none to go by what fits; `main` is the one GPU to use
    where there is no split.
    """

    layers: int | None = AUTO
    split: str = "layer"
    shares: tuple[float, ...] = ()
    main: int = 0


class Placement(NamedTuple):
    """Where the layers are: `layers[i]` of them on `gpus[i]`, the output layer counted as the last.

    `n_layers` is how many the model has, counted likewise. Those that come before stay in main
    memory, and so do the experts of the first `experts_in_memory` of those on GPUs.
    """

    gpus: tuple[Device, ...]
    layers: tuple[int, ...]
    n_layers: int
    split: str = "layer"
    experts_in_memory: int = 0


def place(needs: Needs, gpus: tuple[Device, ...], wishes: Wishes) -> Placement:
    """Put as many layers on the GPUs as were asked for, or as fit.

    Raises:
        SpaceError: what was asked for does not fit; says how many layers would.
        UsageError: no such GPU.
    """
    raise NotImplementedError
