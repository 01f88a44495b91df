"""What a model may take of main memory and of GPUs."""

from __future__ import annotations

import pytest

from lokal.errors import SpaceError
from lokal.hardware.budget import Budget, Machine
from lokal.hardware.devices import Device
from lokal.hardware.fit import Layer, Needs
from lokal.hardware.placement import ALL, Wishes

GB, MB = 10**9, 10**6

# 0.4 GB of embeddings, 32 layers of 128 MB and 32 MB of cache each, 5.85 GB in all with buffers.
NEEDS = Needs(400 * MB, (Layer(128 * MB, 0, 32 * MB),) * 32, 430 * MB, 280 * MB, 20 * MB)
AUTO, NO_GPU = Wishes(), Wishes(0)


def gpu(free: int, kind: str = "gpu", total: int | None = None) -> Device:
    return Device(
        "CUDA0", "NVIDIA X", kind, "CUDA", free, free if total is None else total, None, 1
    )


def budget(available: int | None, *gpus: Device, wishes: Wishes = AUTO) -> Budget:
    return Budget(Machine(available, gpus), wishes)


def test_what_is_on_a_gpu_needs_no_main_memory() -> None:
    """Embeddings do, what a batch begins with, and results; for two GPUs, four batches."""
    wants = NEEDS._replace(entry=30 * MB)
    assert budget(450 * MB, gpu(24 * GB)).arrange(wants).whole
    with pytest.raises(SpaceError) as caught:
        budget(440 * MB, gpu(24 * GB)).arrange(wants)
    assert caught.value.message == (
        "the model needs 0.45 GB of memory besides that of GPUs, 0.44 GB are free"
    )
    two = gpu(5 * GB), gpu(5 * GB)._replace(name="CUDA1")
    assert budget(540 * MB, *two).arrange(wants).whole
    assert not budget(530 * MB, *two).arranged(wants)
    assert not budget(5 * GB, gpu(24 * GB), wishes=NO_GPU).arranged(NEEDS)


def test_a_model_too_large_is_refused_with_a_size_that_fits() -> None:
    """Weights of that size take exactly what is free."""
    with pytest.raises(SpaceError) as caught:
        budget(4 * GB).arrange(NEEDS)
    assert caught.value.message == "the model needs 6.25 GB of memory, 4.00 GB are free"
    assert caught.value.hint == "a quantization of at most 2.67 GB fits"
    fewer = NEEDS._replace(layers=(Layer(57_500_000, 0, 32 * MB),) * 32)
    assert fewer.weights == pytest.approx(2.67 * GB, abs=10 * MB)
    assert budget(4 * GB).arranged(fewer)
    with pytest.raises(SpaceError) as caught:
        budget(GB).arrange(NEEDS)
    assert caught.value.hint == "free some memory, or choose a smaller model"


def test_where_nobody_tells_what_is_free_nothing_is_refused() -> None:
    """GPUs do tell."""
    assert budget(None).spares(NEEDS)
    with pytest.raises(SpaceError, match="33 layers"):
        budget(None, gpu(GB), wishes=Wishes(ALL)).arrange(NEEDS)


def test_mapped_weights_may_come_and_go() -> None:
    """Then cache and buffers are all that must have room."""
    mapped = Budget(Machine(1400 * MB), mapped=True)
    assert mapped.arranged(NEEDS)
    assert not mapped._replace(machine=Machine(1300 * MB)).arranged(NEEDS)


def test_others_are_left_as_much_main_memory_as_the_cache_takes() -> None:
    """On a GPU only the margin."""
    assert budget(6250 * MB + 1024 * MB).spares(NEEDS)
    assert not budget(6250 * MB + 1023 * MB).spares(NEEDS)
    assert budget(700 * MB, gpu(7 * GB)).spares(NEEDS)
    # What is demanded may have the margin too, so it is no measure of what others are left.
    tight = budget(700 * MB, gpu(6 * GB), wishes=Wishes(ALL))
    assert tight.arranged(NEEDS)
    assert not tight.spares(NEEDS)


@pytest.mark.parametrize("shared", [gpu(64 * GB, "integrated"), gpu(0)])
def test_memory_that_a_gpu_shares_is_counted_once(shared: Device) -> None:
    """One that does not say what it has shares it as well."""
    enough = budget(7000 * MB, shared)
    assert enough.arrange(NEEDS).n_gpu_layers
    assert not enough.spares(NEEDS)
    assert budget(8000 * MB, shared).spares(NEEDS)
    with pytest.raises(SpaceError, match=r"of memory, 5\.00 GB are free"):
        budget(5 * GB, shared).arrange(NEEDS)
