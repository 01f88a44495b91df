"""What llama.cpp says of itself and of its devices; `python -m lokal.doctor.probe` in a child.

A build for another CPU dies at its first instruction that this one lacks, and a driver may do
anything; only this process has to bear it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lokal.doctor import child
from lokal.hardware.devices import Device

_SECONDS = 20.0  # a driver of eight GPUs takes five to begin
_MODULE = "lokal.doctor.probe"


class Native(NamedTuple):
    """The installed llama.cpp: its version, what it was built with, the devices that it finds.

    `gpus` are those of the devices that layers would be put on, in llama.cpp's order.
    """

    version: str
    backends: tuple[str, ...]
    instruction_sets: tuple[str, ...]
    devices: tuple[Device, ...]
    gpus: tuple[Device, ...]

    def build(self) -> dict[str, Any]:
        """What `llm doctor --json` shows as `build`."""
        return {"backends": self.backends, "instruction_sets": self.instruction_sets}


def native() -> Native:
    """Ask llama.cpp, in a process of its own.

    Raises:
        ChildError: it cannot be loaded, crashes, or does not answer.
    """
    told = child.ask(_MODULE, seconds=_SECONDS)
    listed = {kind: tuple(map(_device, told[kind])) for kind in ("devices", "gpus")}
    return Native(
        told["version"],
        tuple(told["backends"]),
        tuple(told["instruction_sets"]),
        listed["devices"],
        listed["gpus"],
    )


def shown(device: Device) -> dict[str, Any]:
    """A device as `llm doctor --json` shows it.

    The memory of the CPU is the machine's, all of which ggml calls free.
    """
    memory = {"free": None, "total": None} if device.kind == "cpu" else {}
    return {**_told(device), **memory}


def _told(device: Device) -> dict[str, Any]:
    # Where it lies in memory is nobody's business.
    return {key: value for key, value in device._asdict().items() if key != "native"}


def _device(told: dict[str, Any]) -> Device:
    return Device(**told, native=0)


def answer() -> dict[str, Any]:
    """What the child replies."""
    from lokal.engine import build
    from lokal.hardware.devices import devices, gpus

    found = devices(build.ggml())
    return {
        "version": build.llama_version(),
        "backends": build.backends(),
        "instruction_sets": build.instruction_sets(),
        "devices": [_told(device) for device in found],
        "gpus": [_told(device) for device in gpus(found)],
    }


if __name__ == "__main__":
    child.reply(answer)
