"""Which layers go to which GPU.

llama.cpp puts the last of the layers on GPUs, each GPU a run of them in the order of the devices;
the output layer counts as the last one (llama_model_base::load_tensors). Given numbers of layers as
`tensor_split`, it comes to exactly these numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

from lokal.errors import SpaceError
from lokal.hardware.division import apportioned, evenly
from lokal.hardware.fit import Needs
from lokal.hardware.memory import spelled
from lokal.hardware.wishes import ALL, AUTO, Wishes

if TYPE_CHECKING:
    from lokal.hardware.devices import Device

_MARGIN = 1 << 30  # bytes of a GPU that stay free; llama.cpp's own --fit-target
_RESERVE = 256 << 20  # bytes of a GPU that no demand may have
_ANY = 1 << 60  # bytes; room where nobody tells
_COPIES = 4  # of a batch's entry, where GPUs take turns on several; GGML_SCHED_MAX_COPIES


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
        """The next step down when memory does not suffice; None if that is the CPU.

        All experts stay behind, then half of the layers as well.
        """
        n = self.n_gpu_layers
        if self.mixture and self.experts_in_memory < n - 1:
            return self._replace(experts_in_memory=n - 1)
        if n < 2:
            return None
        layers = tuple(apportioned(n // 2, self.layers))
        experts = n // 2 - 1 if self.mixture else 0
        return self._replace(layers=layers, experts_in_memory=experts).without_idle()

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
    memory, then whole layers; a GPU that does not say what memory it has gets nothing. Layers that
    were asked for may take nearly all that is free, and where the others have no room, go to such
    a GPU unchecked.

    Raises:
        SpaceError: what was asked for does not fit; says how many layers would.
        UsageError: no such GPU, or shares that are none.
    """
    n_layers = len(needs.layers) + 1
    used = wishes.usable(gpus)
    if not used:
        return Placement((), (), n_layers)
    search = _Search(needs, used, [room(gpu, wishes) for gpu in used], wishes)
    if wishes.layers is AUTO:
        return search.first(_steps(needs)) or Placement((), (), n_layers)
    n = n_layers if wishes.layers == ALL else min(wishes.layers, n_layers)
    if found := search.first([(n, 0)]):
        return found
    search = search._replace(rooms=[_ANY if gpu.silent else room(gpu, wishes) for gpu in used])
    if found := search.first([(n, 0)]):
        return found
    raise _lacking(search, n, search.first((fewer, 0) for fewer in range(n - 1, 0, -1)))


def room(gpu: Device, wishes: Wishes) -> int:
    """Bytes of a GPU that a model may take.

    Demands may have the margin but for a reserve: what CUDA allocates for itself with the first
    batch must be there, or it aborts the process (ggml_cuda_pool, cuBLAS).
    """
    if wishes.layers is AUTO:
        return gpu.free - margin(gpu)
    return gpu.free - (0 if gpu.shares_memory else min(_RESERVE, gpu.total // 20))


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


def _lacking(search: _Search, n: int, fitting: Placement | None) -> SpaceError:
    needs, gpus = search.needs, search.gpus
    n_layers = len(needs.layers) + 1
    need = sum(Placement(gpus, (n, *[0] * (len(gpus) - 1)), n_layers).load(needs))
    pairs = zip(gpus, search.rooms, strict=True)
    have = " and ".join(f"{gpu.name} has {spelled(max(0, room))}" for gpu, room in pairs)
    if fitting:
        hint = f"--gpu-layers {fitting.n_gpu_layers} fits"
    else:
        hint = "--gpu-layers 0 leaves GPUs alone"
    if _is_mixture(needs):
        hint += ", and auto keeps experts in main memory"
    return SpaceError(
        f"{n} of {n_layers} layers need {spelled(need)} on GPUs, {have} for them", hint=hint
    )
