"""The memory of this machine, and what of it a model may take."""

from __future__ import annotations

from typing import NamedTuple

from lokal.errors import SpaceError
from lokal.hardware.devices import Device
from lokal.hardware.fit import Needs
from lokal.hardware.placement import Placement, Wishes, margin, place


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
        have = self.machine.available
        need = self._main_memory(placement, needs)
        if have is not None and need > have:
            beside = " besides that of GPUs" if any(map(_is_apart, placement.gpus)) else ""
            hint = "free some memory, or choose a smaller model"
            most = (needs.weights - (need - have)) // 10**7  # whole hundredths of a gigabyte
            if most > 0 and not self.mapped:
                hint = f"a quantization of at most {most / 100:.2f} GB fits"
            raise SpaceError(
                f"the model needs {need / 1e9:.2f} GB of memory{beside},"
                f" {have / 1e9:.2f} GB are free",
                hint=hint,
            )
        return placement

    def spares(self, needs: Needs, like: Placement | None = None) -> bool:
        """Whether enough is left to others: on GPUs the margin, of main memory half.

        That is half of what the weights leave there, and the other half is for the KV cache. As
        much must be on GPUs as in a placement `like` this, if there is one.
        """
        placement = self.arranged(needs)
        if placement is None or not self._keeps_margins(placement, needs):
            return False
        if like and placement.reach < like.reach:
            return False
        have = self.machine.available
        if have is None:
            return True
        apart = map(_is_apart, placement.gpus)
        kv = needs.kv - sum(
            on_gpu for on_gpu, own in zip(placement.kv(needs), apart, strict=True) if own
        )
        return kv <= have - self._main_memory(placement, needs)

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
            gpu if _is_apart(gpu) else gpu._replace(free=min(gpu.free, have) if gpu.total else have)
            for gpu in self.machine.gpus
        )

    def _main_memory(self, placement: Placement, needs: Needs) -> int:
        """Bytes of main memory, those that a GPU shares among them."""
        need = placement.in_memory(needs)
        if self.mapped:
            need -= placement.weights_in_memory(needs)
        loads = zip(placement.gpus, placement.load(needs), strict=True)
        return need + sum(load for gpu, load in loads if not _is_apart(gpu))

    def _keeps_margins(self, placement: Placement, needs: Needs) -> bool:
        return placement.fits(needs, [gpu.free - margin(gpu) for gpu in placement.gpus])


def _is_apart(gpu: Device) -> bool:
    """Whether it has memory of its own; one that does not say has none."""
    return gpu.kind != "integrated" and gpu.total > 0
