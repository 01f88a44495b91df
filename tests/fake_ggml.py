"""A ggml with the devices that a test wants."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from lokal.engine import build

GB = 10**9
_TYPES = {"cpu": 0, "gpu": 1, "integrated": 2, "accelerator": 3}


class FakeDevice(NamedTuple):
    """A device as ggml would describe it; a GPU of 24 GB unless said otherwise."""

    name: str = "CUDA0"
    description: str = "NVIDIA GeForce RTX 4090"
    kind: str = "gpu"
    backend: str = "CUDA"
    free: int = 23 * GB
    total: int = 24 * GB
    id: str | None = None


CPU = FakeDevice("CPU", "A processor", "cpu", "CPU", 12 * GB, 16 * GB)


class FakeGgml:
    """What `engine.build.ggml` returns, over devices made of Python.

    `FakeGgml([FakeDevice(), CPU])` is a machine with one GPU; its devices are `devices(fake)`.
    `fake.install(monkeypatch)` makes it the ggml that all of lokal asks. `fake.found` is a list
    that a test may change, as when another program takes the memory of a GPU. A device's native
    pointer is its place in the list plus 1.
    """

    def __init__(self, found: list[FakeDevice] | None = None) -> None:
        self.found = [CPU] if found is None else found
        self._ids: dict[str, bytes] = {}  # a struct that is pointed to keeps nothing alive

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(build, "ggml", lambda: self)
        monkeypatch.setattr(build, "supports_gpu", self.supports_gpu)

    def supports_gpu(self) -> bool:
        return any(each.kind in {"gpu", "integrated"} for each in self.found)

    def ggml_backend_dev_count(self) -> int:
        return len(self.found)

    def ggml_backend_dev_get(self, index: int) -> int:
        assert 0 <= index < len(self.found), "ggml aborts"
        return index + 1

    def ggml_backend_dev_name(self, device: int) -> bytes:
        return self._at(device).name.encode()

    def ggml_backend_dev_description(self, device: int) -> bytes:
        return self._at(device).description.encode()

    def ggml_backend_dev_type(self, device: int) -> int:
        return _TYPES[self._at(device).kind]

    def ggml_backend_dev_memory(self, device: int, free: Any, total: Any) -> None:
        free[0], total[0] = self._at(device).free, self._at(device).total

    def ggml_backend_dev_get_props(self, device: int, props: Any) -> None:
        found = self._at(device).id
        props[0].device_id = found and self._ids.setdefault(found, found.encode())

    def ggml_backend_dev_backend_reg(self, device: int) -> int:
        return self._registries.index(self._at(device).backend) + 1

    def ggml_backend_reg_count(self) -> int:
        return len(self._registries)

    def ggml_backend_reg_get(self, index: int) -> int:
        assert 0 <= index < len(self._registries), "ggml aborts"
        return index + 1

    def ggml_backend_reg_name(self, registry: int) -> bytes:
        return self._registries[registry - 1].encode()

    @property
    def _registries(self) -> list[str]:
        return list(dict.fromkeys(each.backend for each in self.found))

    def _at(self, device: int) -> FakeDevice:
        assert 1 <= device <= len(self.found), "no such pointer"
        return self.found[device - 1]
