"""The memory of this machine, and what of it a model may take."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lokal.errors import SpaceError
from lokal.hardware.fit import Needs
from lokal.hardware.memory import spelled
from lokal.hardware.placement import Placement, place, room
from lokal.hardware.wishes import Wishes

if TYPE_CHECKING:
    from lokal.hardware.devices import Device


class Machine(NamedTuple):
    """Bytes of main memory that are `available`, None if unknown, and GPUs for layers to go to."""

    available: int | None
    gpus: tuple[Device, ...] = ()


class Budget(NamedTuple):
    """What a model may take of a machine.

    Weights in main memory count for nothing if they are `mapped`: then they may come and go.
    """

    machine: Machine
    wishes: Wishes = Wishes()
    mapped: bool = False

    def arrange(self, needs: Needs) -> Placement:
        """Where the layers go; all that is not on GPUs has room in main memory then.

        Raises:
            SpaceError: too little memory, or too little for the layers demanded on GPUs.
            UsageError: no such GPU.
        """
        placement = place(needs, self._gpus(), self.wishes)
        self.check(placement, needs)
        return placement

    def check(self, placement: Placement, needs: Needs) -> None:
        """Raises: SpaceError: too little main memory for what is not on GPUs."""
        have = self.machine.available
        need = self._main_memory(placement, needs)
        if have is not None and need > have:
            apart = any(not gpu.shares_memory for gpu in placement.gpus)
            beside = " besides that of GPUs" if apart else ""
            hint = "free some memory, or choose a smaller model"
            most = (needs.weights - (need - have)) // 10**7 * 10**7  # as it is spelled
            if most > 0 and not self.mapped:
                hint = f"a quantization of at most {spelled(most)} fits"
            raise SpaceError(
                f"the model needs {spelled(need)} of memory{beside}, {spelled(have)} are free",
                hint=hint,
            )

    def spares_memory(self, placement: Placement, needs: Needs) -> bool:
        """Whether the KV cache takes at most half of what the weights leave of main memory."""
        have = self.machine.available
        kv = needs.kv - sum(kv for _, _, kv in self._apart(placement, needs))
        return have is None or kv <= have - self._main_memory(placement, needs)

    def spares_gpus(self, placement: Placement, needs: Needs) -> bool:
        """Whether it takes at most half of what the weights leave of GPUs with their own memory."""
        apart = self._apart(placement, needs)
        return sum(kv for _, _, kv in apart) <= sum(most - load for most, load, _ in apart)

    def arranged(self, needs: Needs) -> Placement | None:
        """As `arrange`, or None if there is too little memory."""
        try:
            return self.arrange(needs)
        except SpaceError:
            return None

    def _gpus(self) -> tuple[Device, ...]:
        """The GPUs; of those without memory of their own, main memory is what is free."""
        have = self.machine.available
        if have is None:
            return self.machine.gpus
        return tuple(
            gpu._replace(free=min(gpu.free, have) if gpu.total else have)
            if gpu.shares_memory
            else gpu
            for gpu in self.machine.gpus
        )

    def _apart(self, placement: Placement, needs: Needs) -> list[tuple[int, int, int]]:
        """Of each GPU with memory of its own: what it has for a model, the load, the KV cache."""
        loads = zip(placement.gpus, placement.load(needs), placement.kv(needs), strict=True)
        return [
            (max(0, room(gpu, self.wishes)), load, kv)
            for gpu, load, kv in loads
            if not gpu.shares_memory
        ]

    def _main_memory(self, placement: Placement, needs: Needs) -> int:
        """Bytes of main memory, those that a GPU shares among them."""
        need = placement.in_memory(needs)
        if self.mapped:
            need -= placement.weights_in_memory(needs)
        loads = zip(placement.gpus, placement.load(needs), strict=True)
        return need + sum(load for gpu, load in loads if gpu.shares_memory)
