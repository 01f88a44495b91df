"""What the user said of GPUs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from lokal.errors import UsageError

if TYPE_CHECKING:
    from lokal.hardware.devices import Device

AUTO, ALL = None, -1


class Wishes(NamedTuple):
    """Which GPUs are to be used, and for how much.

    `layers` is AUTO, ALL or a number, the output layer counted last; `split` is layer, row or none;
    `shares` are the parts of several GPUs, or none to go by what fits; `main` is the one GPU to use
    where there is no split.
    """

    layers: int | None = AUTO
    split: str = "layer"
    shares: tuple[float, ...] = ()
    main: int = 0

    def usable(self, gpus: tuple[Device, ...]) -> tuple[Device, ...]:
        """Those of the GPUs that layers may go to.

        Raises:
            UsageError: no such GPU, or shares that are none.
        """
        if not gpus or self.layers == 0:
            return ()
        if self.split == "none":
            if self.main not in range(len(gpus)):
                listed = (f"{i}: {gpu.name} ({gpu.description})" for i, gpu in enumerate(gpus))
                raise UsageError(
                    f"there is no GPU {self.main}", hint=f"there are {', '.join(listed)}"
                )
            return (gpus[self.main],)
        shares = self.shares
        if len(shares) > len(gpus):
            names = ", ".join(gpu.name for gpu in gpus)
            raise UsageError(
                f"shares for {len(shares)} GPUs, and there are {len(gpus)}",
                hint=f"there are {names}",
            )
        if shares and not (all(0 <= share < math.inf for share in shares) and any(shares)):
            raise UsageError(
                f"shares of {', '.join(f'{share:g}' for share in shares)}",
                hint="give each GPU a number from 0 on, such as 3,1",
            )
        return gpus
