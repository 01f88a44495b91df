"""What llama.cpp can compute on, and where it would put layers."""

from __future__ import annotations

import pytest
from fake_ggml import CPU, GB, FakeDevice, FakeGgml
from hypothesis import given
from hypothesis import strategies as st

from lokal.engine import build
from lokal.hardware.devices import Device, devices, gpus

RPC = FakeDevice("RPC0", "10.0.0.2:50052", backend="RPC")
VULKAN = FakeDevice("Vulkan0", backend="Vulkan", id="0000:01:00.0")
SHARED = FakeDevice("Vulkan1", "AMD Radeon 780M", "integrated", "Vulkan")
METAL = FakeDevice("MTL0", "Apple M3", backend="MTL")
BLAS = FakeDevice("BLAS", "OpenBLAS", "accelerator", "BLAS", 0, 0)


def chosen(*found: FakeDevice) -> list[str]:
    return [each.name for each in gpus(devices(FakeGgml(list(found))))]


def test_a_device_is_told_in_full() -> None:
    fake = FakeGgml([FakeDevice(free=7, total=9, id="0000:c1:00.0"), CPU])
    description = "NVIDIA GeForce RTX 4090"
    first, second = devices(fake)
    assert first == Device("CUDA0", description, "gpu", "CUDA", 7, 9, "0000:c1:00.0", 1)
    assert (second.kind, second.backend, second.id, second.native) == ("cpu", "CPU", None, 2)


def test_apple_s_gpus_share_the_main_memory_whatever_ggml_calls_them() -> None:
    (found,) = devices(FakeGgml([METAL]))
    assert (found.kind, found.backend) == ("integrated", "Metal")


def test_a_device_that_does_not_tell_its_memory_is_kept() -> None:
    assert [each.total for each in devices(FakeGgml([VULKAN._replace(free=0, total=0)]))] == [0]
    assert chosen(VULKAN._replace(free=0, total=0)) == ["Vulkan0"]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([CPU], []),
        ([BLAS, CPU], []),
        ([FakeDevice(), FakeDevice("CUDA1"), CPU], ["CUDA0", "CUDA1"]),
        ([FakeDevice(id="0000:01:00.0"), VULKAN, CPU], ["CUDA0"]),
        ([FakeDevice(id="0000:02:00.0"), VULKAN, CPU], ["CUDA0", "Vulkan0"]),
        ([FakeDevice(), RPC, CPU], ["RPC0", "CUDA0"]),
        ([RPC._replace(id="x"), RPC._replace(name="RPC1", id="x")], ["RPC0", "RPC1"]),
        ([SHARED, FakeDevice(), CPU], ["CUDA0"]),
        ([SHARED, RPC, CPU], ["RPC0", "Vulkan1"]),
        ([SHARED, SHARED._replace(name="Vulkan2"), CPU], ["Vulkan1", "Vulkan2"]),
        ([SHARED, SHARED._replace(name="ROCm0", backend="ROCm"), CPU], ["Vulkan1"]),
        ([METAL, BLAS, CPU], ["MTL0"]),
    ],
)
def test_layers_go_where_llama_cpp_would_put_them(
    found: list[FakeDevice], expected: list[str]
) -> None:
    assert chosen(*found) == expected


@given(st.lists(st.sampled_from([CPU, BLAS, FakeDevice(), VULKAN, SHARED, METAL, RPC])))
def test_no_gpu_is_taken_twice_and_nothing_else_is_taken(found: list[FakeDevice]) -> None:
    taken = gpus(devices(FakeGgml(found)))
    assert len({each.native for each in taken}) == len(taken)
    ids = [each.id for each in taken if each.id]
    assert len(set(ids)) == len(ids)
    assert {each.kind for each in taken if each.backend != "RPC"} in [
        set(),
        {"gpu"},
        {"integrated"},
    ]
    assert any(each.kind in {"gpu", "integrated"} for each in found) == bool(taken)


def test_the_installed_llama_cpp_has_a_cpu() -> None:
    """Through the real library: types, and the struct's layout."""
    found = devices(build.ggml())
    cpus = [each for each in found if each.kind == "cpu"]
    assert [(each.name, each.backend, each.id) for each in cpus] == [("CPU", "CPU", None)]
    assert cpus[0].description
    assert 0 < cpus[0].free <= cpus[0].total < 10**15
    assert cpus[0].total > GB // 4
    assert bool(gpus(found)) <= build.supports_gpu()
