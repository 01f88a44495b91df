"""What a model may take of main memory and of GPUs."""

from __future__ import annotations

import pytest

from lokal.errors import SpaceError
from lokal.hardware.budget import Budget, Machine
from lokal.hardware.devices import Device
from lokal.hardware.fit import Layer, Needs
from lokal.hardware.wishes import ALL, Wishes

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


def spares(machine: Budget, needs: Needs = NEEDS) -> tuple[bool, bool]:
    """Whether main memory is left to others, and GPUs."""
    placement = machine.arrange(needs)
    return machine.spares_memory(placement, needs), machine.spares_gpus(placement, needs)


def test_where_nobody_tells_what_is_free_nothing_is_refused() -> None:
    """GPUs do tell."""
    assert spares(budget(None)) == (True, True)
    with pytest.raises(SpaceError, match="33 layers"):
        budget(None, gpu(GB), wishes=Wishes(ALL)).arrange(NEEDS)


def test_mapped_weights_may_come_and_go() -> None:
    """Then cache and buffers are all that must have room."""
    mapped = Budget(Machine(1400 * MB), mapped=True)
    assert mapped.arranged(NEEDS)
    assert not mapped._replace(machine=Machine(1300 * MB)).arranged(NEEDS)


def test_others_are_left_as_much_main_memory_as_the_cache_takes() -> None:
    """On a GPU as much, besides the margin."""
    assert spares(budget(6250 * MB + 1024 * MB)) == (True, True)
    assert spares(budget(6250 * MB + 1023 * MB)) == (False, True)
    load = 32 * 160 * MB + 430 * MB + 280 * MB
    card = gpu(load + 1024 * MB + 900 * MB, total=9 * GB)
    assert spares(budget(700 * MB, card)) == (True, True)
    assert spares(budget(700 * MB, card._replace(free=card.free - 1))) == (True, False)
    # What is demanded may have the margin too, but for a reserve.
    card = card._replace(free=load + 1024 * MB + (256 << 20))
    assert spares(budget(700 * MB, card)) == (True, False)
    assert spares(budget(700 * MB, card, wishes=Wishes(ALL))) == (True, True)


@pytest.mark.parametrize("shared", [gpu(64 * GB, "integrated"), gpu(0, "integrated")])
def test_memory_that_a_gpu_shares_is_counted_once(shared: Device) -> None:
    """Also where it does not say what it has."""
    enough = budget(7000 * MB, shared)
    assert enough.arrange(NEEDS).n_gpu_layers
    assert spares(enough) == (False, True)
    assert spares(budget(8000 * MB, shared)) == (True, True)
    with pytest.raises(SpaceError, match=r"of memory, 5\.00 GB are free"):
        budget(5 * GB, shared).arrange(NEEDS)


def test_a_card_that_does_not_say_its_memory_gets_what_is_demanded_only() -> None:
    """A full one says 0 of 0; another is used in its place, on demand as well."""
    full, other = gpu(0), gpu(24 * GB)._replace(name="CUDA1")
    assert not budget(8 * GB, full).arrange(NEEDS).gpus
    for wishes in AUTO, Wishes(ALL):
        assert budget(8 * GB, full, other, wishes=wishes).arrange(NEEDS).gpus == (other,)
    for wishes in Wishes(ALL), Wishes(7):
        demanded = budget(8 * GB, full, wishes=wishes)
        assert demanded.arrange(NEEDS).gpus == (full,)
        assert spares(demanded) == (True, False)
    both = budget(8 * GB, full, gpu(3 * GB), wishes=Wishes(ALL)).arrange(NEEDS)
    assert both.whole
