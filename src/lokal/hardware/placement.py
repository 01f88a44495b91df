"""Which layers go to which GPU.

llama.cpp puts the last of the layers on GPUs, each GPU a run of them in the order of the devices;
the output layer counts as the last one (llama_model_base::load_tensors). Given numbers of layers as
`tensor_split`, it comes to exactly these numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from lokal.errors import SpaceError, UsageError
from lokal.hardware.devices import Device
from lokal.hardware.division import apportioned, evenly
from lokal.hardware.fit import Needs

AUTO, ALL = None, -1
_MARGIN = 1 << 30  # bytes of a GPU that stay free; llama.cpp's own --fit-target
_COPIES = 4  # of a batch's entry, where GPUs take turns on several; GGML_SCHED_MAX_COPIES
_STEP_DOWN = 5  # a fifth of the layers goes where llama.cpp runs out of memory all the same


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
    memory, and so do the experts of the first `experts_in_memory` of those on GPUs. A `mixture`
    has experts.
    """

    gpus: tuple[Device, ...]
    layers: tuple[int, ...]
    n_layers: int
    split: str = "layer"
    experts_in_memory: int = 0
    mixture: bool = False

    @property
    def n_gpu_layers(self) -> int:
        return sum(self.layers)

    @property
    def whole(self) -> bool:
        """Whether all weights but the embeddings are on GPUs."""
        return self.n_gpu_layers == self.n_layers and not self.experts_in_memory

    @property
    def reach(self) -> tuple[int, int]:
        """How much of the model is on GPUs: compares as larger where it is more."""
        return self.n_gpu_layers, -self.experts_in_memory

    @property
    def description(self) -> str:
        """Where the layers are, in words."""
        if not self.n_gpu_layers:
            return "on the CPU"
        used = [(gpu, count) for gpu, count in zip(self.gpus, self.layers, strict=True) if count]
        (gpu, count), *others = used
        maker = f" ({gpu.description})" if not others and gpu.description else ""
        text = f"{count} of {self.n_layers} layers on {gpu.name}{maker}"
        text += "".join(f", {count} on {gpu.name}" for gpu, count in others)
        if self.experts_in_memory:
            text += f", experts of {self.experts_in_memory} layers in main memory"
        return text

    def load(self, needs: Needs) -> tuple[int, ...]:
        """Bytes on each of `gpus`."""
        sizes = _sizes(needs, self._first, self.experts_in_memory)
        compute = needs.compute + self._copies(needs)
        loads = [compute + sum(run) for run in self._runs(sizes)]
        if loads:
            loads[0] += _visitors(needs, self._first, self.experts_in_memory)
        return tuple(loads)

    def kv(self, needs: Needs) -> tuple[int, ...]:
        """Bytes of the KV cache on each of `gpus`; they are in `load`."""
        sizes = [*(layer.kv for layer in needs.layers), 0]
        return tuple(sum(run) for run in self._runs(sizes))

    def weights_in_memory(self, needs: Needs) -> int:
        """Bytes of weights that stay in main memory."""
        stay = needs.input + sum(layer.weights for layer in needs.layers[: self._first])
        if not self.n_gpu_layers:
            stay += needs.output
        end = self._first + self.experts_in_memory
        return stay + sum(layer.experts for layer in needs.layers[self._first : end])

    def in_memory(self, needs: Needs) -> int:
        """Bytes of main memory: what is not on GPUs, and what the CPU computes with."""
        kv = needs.kv - sum(self.kv(needs))
        compute = needs.entry + self._copies(needs) if self.whole else needs.compute
        return self.weights_in_memory(needs) + kv + compute + needs.results

    def fits(self, needs: Needs, rooms: Sequence[int]) -> bool:
        """Whether each of `gpus` has room, in bytes.

        Where rows are split, each has a part of every layer, so only the sum is looked at.
        """
        loads = self.load(needs)
        if self.split == "row":
            return sum(loads) <= sum(max(0, room) for room in rooms)
        return all(load <= room for load, room in zip(loads, rooms, strict=True))

    def smaller(self) -> Placement | None:
        """The next step down when memory does not suffice; None from the CPU."""
        n_before = self.n_gpu_layers
        if not n_before:
            return None
        experts = self.experts_in_memory
        if self.mixture and experts < n_before - 1:
            experts += max(1, self.n_layers // _STEP_DOWN)
            return self._replace(experts_in_memory=min(n_before - 1, experts))
        n = n_before - max(1, n_before // _STEP_DOWN)
        experts = n - 1 if self.mixture else 0
        return self._replace(
            layers=tuple(apportioned(n, self.layers)), experts_in_memory=experts
        ).without_idle()

    def without_idle(self) -> Placement:
        """The same without GPUs that have nothing; llama.cpp counts them all to split rows."""
        if not self.n_gpu_layers:
            return Placement((), (), self.n_layers)
        if self.split == "row":
            return self
        used = [pair for pair in zip(self.gpus, self.layers, strict=True) if pair[1]]
        gpus, layers = zip(*used, strict=True)
        return self._replace(gpus=gpus, layers=layers)

    def _copies(self, needs: Needs) -> int:
        """Bytes on each device for the next batches, where layers are split among GPUs."""
        return _copies(needs, self.gpus) if self.whole and self.split == "layer" else 0

    @property
    def _first(self) -> int:
        """The first layer on a GPU."""
        return self.n_layers - self.n_gpu_layers

    def _runs(self, values: Sequence[int]) -> Iterator[Sequence[int]]:
        """Of one value for each layer, those of the layers on each GPU."""
        ends = accumulate(self.layers, initial=self._first)
        return (values[start:end] for start, end in pairwise(ends))


def place(needs: Needs, gpus: tuple[Device, ...], wishes: Wishes) -> Placement:
    """Put as many layers on the GPUs as were asked for, or as fit.

    By default each GPU keeps a margin free, and a mixture of experts first leaves experts in main
    memory, then whole layers. Layers that were asked for may take all that is free.

    Raises:
        SpaceError: what was asked for does not fit; says how many layers would.
        UsageError: no such GPU, or shares that are none.
    """
    n_layers = len(needs.layers) + 1
    used = _usable(gpus, wishes)
    if not used:
        return Placement((), (), n_layers)
    if wishes.layers is AUTO:
        search = _Search(needs, used, [gpu.free - margin(gpu) for gpu in used], wishes)
        return search.first(_steps(needs)) or Placement((), (), n_layers)
    n = n_layers if wishes.layers == ALL else min(wishes.layers, n_layers)
    search = _Search(needs, used, [gpu.free for gpu in used], wishes)
    found = search.first([(n, 0)])
    if found is None:
        raise _lacking(needs, used, n, search.first((fewer, 0) for fewer in range(n - 1, 0, -1)))
    return found


def margin(gpu: Device) -> int:
    """Bytes of a GPU that are left to others, and to what a prediction is short of."""
    return min(_MARGIN, max(gpu.total, gpu.free) // 10)


class _Search(NamedTuple):
    """Who needs room, and the `rooms` in bytes that GPUs have."""

    needs: Needs
    gpus: tuple[Device, ...]
    rooms: list[int]
    wishes: Wishes

    def first(self, steps: Iterable[tuple[int, int]]) -> Placement | None:
        """The first that fits, of so many layers on GPUs, the experts of so many in memory."""
        return next((found for n, experts in steps if (found := self._try(n, experts))), None)

    def _try(self, n: int, experts: int) -> Placement | None:
        needs, split = self.needs, self.wishes.split
        first = len(needs.layers) + 1 - n
        if self.wishes.shares or split == "row":
            layers = self._by_share(n)
        else:
            sizes = _sizes(needs, first, experts)[first:]
            fixed = needs.compute
            if first + experts == 0:
                fixed += _copies(needs, self.gpus)
            layers = evenly(sizes, self.rooms, fixed, _visitors(needs, first, experts))
        if not layers:
            return None
        mixture = _is_mixture(needs)
        placement = Placement(self.gpus, tuple(layers), first + n, split, experts, mixture)
        placement = placement.without_idle()
        rooms = dict(zip(self.gpus, self.rooms, strict=True))
        return placement if placement.fits(needs, [rooms[gpu] for gpu in placement.gpus]) else None

    def _by_share(self, n: int) -> list[int] | None:
        """By the user's shares, or by what is free."""
        shares = self.wishes.shares or [max(0, room) for room in self.rooms]
        shares = [*shares, *[0] * (len(self.rooms) - len(shares))]
        return apportioned(n, shares) if any(shares) else None


def _usable(gpus: tuple[Device, ...], wishes: Wishes) -> tuple[Device, ...]:
    """The GPUs that layers may go to."""
    if not gpus or wishes.layers == 0:
        return ()
    if wishes.split == "none":
        if wishes.main not in range(len(gpus)):
            listed = ", ".join(f"{i}: {gpu.name} ({gpu.description})" for i, gpu in enumerate(gpus))
            raise UsageError(f"there is no GPU {wishes.main}", hint=f"there are {listed}")
        return (gpus[wishes.main],)
    shares = wishes.shares
    if len(shares) > len(gpus):
        names = ", ".join(gpu.name for gpu in gpus)
        raise UsageError(
            f"shares for {len(shares)} GPUs, and there are {len(gpus)}", hint=f"there are {names}"
        )
    if shares and not (all(0 <= share < math.inf for share in shares) and any(shares)):
        raise UsageError(
            f"shares of {', '.join(f'{share:g}' for share in shares)}",
            hint="give each GPU a number from 0 on, such as 3,1",
        )
    return gpus


def _steps(needs: Needs) -> Iterator[tuple[int, int]]:
    """Numbers of layers on GPUs and of those whose experts stay behind, the best first."""
    n_layers = len(needs.layers) + 1
    mixture = _is_mixture(needs)
    yield n_layers, 0
    if mixture:
        yield from ((n_layers, experts) for experts in range(1, n_layers))
    yield from ((n, n - 1 if mixture else 0) for n in range(n_layers - 1, 0, -1))


def _is_mixture(needs: Needs) -> bool:
    return any(layer.experts for layer in needs.layers)


def _sizes(needs: Needs, first: int, experts: int) -> list[int]:
    """Bytes of each layer on a GPU, the output layer the last."""
    sizes = [layer.weights + layer.kv for layer in needs.layers]
    for i, layer in enumerate(needs.layers[first : first + experts], first):
        sizes[i] -= layer.experts
    return [*sizes, needs.output + needs.tied]


def _copies(needs: Needs, gpus: Sequence[Device]) -> int:
    """Bytes on each device for the batches that are on their way from GPU to GPU."""
    return (_COPIES - 1) * needs.entry if len(gpus) > 1 else 0


def _visitors(needs: Needs, first: int, experts: int) -> int:
    """Bytes on the first GPU for weights of main memory: for large batches they are copied to it.

    One tensor at a time. Of a dense layer the largest is at most a third, of experts a half.
    """
    dense = [(layer.weights - layer.experts) // 3 for layer in needs.layers[:first]]
    mixed = [layer.experts // 2 for layer in needs.layers[: first + experts]]
    return max([*dense, *mixed], default=0)


def _lacking(
    needs: Needs, gpus: tuple[Device, ...], n: int, fitting: Placement | None
) -> SpaceError:
    n_layers = len(needs.layers) + 1
    need = sum(Placement(gpus, (n, *[0] * (len(gpus) - 1)), n_layers).load(needs))
    have = " and ".join(f"{gpu.name} has {gpu.free / 1e9:.2f}" for gpu in gpus)
    if fitting:
        hint = f"--gpu-layers {fitting.n_gpu_layers} fits"
    else:
        hint = "--gpu-layers 0 leaves GPUs alone"
    if _is_mixture(needs):
        hint += ", and auto keeps experts in main memory"
    return SpaceError(
        f"{n} of {n_layers} layers need {need / 1e9:.2f} GB on GPUs, {have} GB free", hint=hint
    )
