"""The context size: the user's word, the model's own, or what memory allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lokal.errors import SpaceError, UsageError
from lokal.hardware.budget import Budget, Machine
from lokal.hardware.context import GOOD, LEAST, MAX_CONTEXT, most_cells, settle
from lokal.hardware.devices import Device
from lokal.hardware.fit import Layer, Needs
from lokal.hardware.kv import STEP
from lokal.hardware.sizes import padded
from lokal.hardware.wishes import ALL, Wishes

GB = 10**9
AUTO = Wishes()
WEIGHTS, BUFFERS, PER_TOKEN = 10_000_000, 1_000_000, 256
LIMITS = st.integers(2, 2**20)
MEMORY = st.integers(WEIGHTS + 2 * BUFFERS + 512 * PER_TOKEN, 2**30)


def needs(n_cells: int) -> Needs:
    """Of a dense model of eight layers, of 256 bytes a token."""
    kv = padded(n_cells, STEP) * PER_TOKEN // 8
    return Needs(WEIGHTS // 5, (Layer(WEIGHTS // 10, 0, kv),) * 8, 0, BUFFERS, 0)


def gpu(free: int) -> Device:
    return Device("CUDA0", "", "gpu", "CUDA", free, free, None, 1)


def budget(available: int | None, *gpus: Device, wishes: Wishes = AUTO) -> Budget:
    return Budget(Machine(available, gpus), wishes)


@given(LIMITS, MEMORY | st.none())
def test_by_default_the_cache_takes_half_of_what_the_weights_leave(
    limit: int, available: int | None
) -> None:
    """Never more than the model's limit; a cap is told; some context there always is."""
    context, placement, taken = settle(limit, None, budget(available), needs)
    n_ctx = context.n_ctx
    assert taken == needs(n_ctx)
    assert not placement.gpus
    assert min(limit, LEAST) <= n_ctx <= limit
    if available is None:
        assert context == (limit, None)
        return
    room = (available - WEIGHTS - BUFFERS) // 2
    if n_ctx > LEAST:
        assert taken.kv <= room
    if n_ctx < limit:
        assert context.note == (
            f"the context is {n_ctx} tokens of {limit}, as memory allows; -c asks for more"
        )
        assert needs(n_ctx + STEP).kv > room  # it is the largest
    else:
        assert context.note is None


@given(
    LIMITS, st.integers(2, MAX_CONTEXT), st.integers(0, 2**30) | st.none(), st.integers(0, 2**30)
)
def test_what_is_asked_for_is_given_or_refused(
    limit: int, asked: int, available: int | None, on_gpu: int
) -> None:
    """No silent change, and layers leave the GPU for it; the refusal names what would be given."""
    machine = budget(available, gpu(on_gpu))
    if machine.arranged(needs(asked)):
        settled = settle(limit, asked, machine, needs)
        assert settled.context.n_ctx == asked
        assert bool(settled.context.note) == (asked > limit)
        assert settled.placement == machine.arrange(needs(asked))
        return
    with pytest.raises(SpaceError) as caught:
        settle(limit, asked, machine, needs)
    word, size = caught.value.hint.split()[:2]
    if word == "-c":
        assert f"a context of {asked} tokens" in caught.value.message
        assert machine.arranged(needs(int(size)))
        assert machine.arranged(needs(int(size) + STEP)) is None
    else:
        assert machine.arranged(needs(STEP)) is None


@given(LIMITS, st.integers(0, 2**27), MEMORY)
def test_a_context_takes_no_layers_off_gpus(limit: int, on_gpu: int, available: int) -> None:
    """It gets half of what they leave; for up to 8192 tokens layers do go."""
    machine = budget(available, gpu(on_gpu))

    def fine(n: int) -> bool:
        placement = machine.arranged(needs(n))
        if placement is None or not machine.spares_memory(placement, needs(n)):
            return False
        return n <= GOOD or (
            good is not None
            and placement.reach >= good.reach
            and machine.spares_gpus(placement, needs(n))
        )

    good = machine.arranged(needs(min(limit, GOOD)))
    n_ctx = settle(limit, None, machine, needs).context.n_ctx
    assert n_ctx == min(limit, LEAST) or fine(n_ctx)
    assert n_ctx == limit or not fine(n_ctx + STEP)


def test_what_a_context_is_capped_for_is_said() -> None:
    """A card that others shall use as well, one too small for all layers, and one just not."""
    all_layers = WEIGHTS * 4 // 5 + BUFFERS
    roomy = budget(GB, gpu((all_layers + 2 * 20_000 * PER_TOKEN) * 10 // 9 + 1))
    settled = settle(2**20, None, roomy, needs)
    assert (settled.placement.whole, settled.context.n_ctx) == (True, 20_000 // STEP * STEP)
    assert settled.context.note
    assert "tokens of 1048576, as memory allows; -c asks for more" in settled.context.note
    for free in all_layers // 2, all_layers + GOOD * PER_TOKEN:
        settled = settle(2**20, None, budget(GB, gpu(free * 10 // 9 + 1)), needs)
        assert settled.placement.n_gpu_layers
        n_ctx = settled.context.n_ctx
        assert GOOD <= n_ctx < 9000
        assert settled.context.note == (
            f"the context is {n_ctx} tokens of 1048576, so that no layer leaves the GPU;"
            " -c asks for more"
        )


def test_what_memory_cannot_hold_at_all_is_refused_without_a_context() -> None:
    """Fewer tokens would not help."""
    with pytest.raises(SpaceError, match=r"^the model needs 11\.1 MB") as caught:
        settle(8192, None, budget(WEIGHTS), needs)
    assert caught.value.hint == "free some memory, or choose a smaller model"
    with pytest.raises(SpaceError, match=r"^the model needs"):
        settle(8192, 4096, budget(WEIGHTS), needs)


def test_layers_that_are_demanded_can_have_a_smaller_context() -> None:
    """By default what fits, if it is no more than 8192; asked for more, both ways out are named."""
    machine = budget(GB, gpu(12_000_000), wishes=Wishes(ALL))
    with pytest.raises(SpaceError) as caught:
        settle(2**20, 2**16, machine, needs)
    assert caught.value.message.startswith("with a context of 65536 tokens 9 of 9 layers need")
    assert caught.value.hint == "-c 9216 fits; --gpu-layers 4 fits"
    settled = settle(2**20, None, machine, needs)
    assert (settled.placement.whole, settled.context.n_ctx) == (True, GOOD)
    tight = budget(GB, gpu(10_000_000), wishes=Wishes(ALL))
    context, placement, _ = settle(2**20, None, tight, needs)
    assert placement.whole
    assert (
        context.note == "the context is 1792 tokens of 1048576, as memory allows; -c asks for more"
    )


@given(st.integers(1, 2**15), st.integers(1, 2**17), MEMORY, st.integers(0, 2**25))
def test_a_cache_for_many_leaves_others_half_of_the_memory(
    least: int, most: int, available: int, on_gpu: int
) -> None:
    """Never less than one sequence needs, nor more than is of use; all layers stay on GPUs."""
    machine = budget(available, gpu(on_gpu))
    cells = most_cells(least, most, machine, needs)
    assert cells == most if most <= least else least <= cells <= most
    if cells > least:
        placement = machine.arrange(needs(cells))
        assert machine.spares_memory(placement, needs(cells))
        good = machine.arranged(needs(max(least, min(most, GOOD))))
        assert placement.whole or not (good and good.whole)
    if least < cells < most:
        assert cells % STEP == 0


def test_a_cache_for_many_may_take_layers_off_a_gpu_that_lacks_some() -> None:
    """Else many sequences would share the few cells that cost none."""
    machine = budget(GB, gpu(8_000_000))
    few, many = (machine.arrange(needs(n)) for n in (GOOD, 64 * 1024))
    assert few.whole is False
    assert 0 < many.n_gpu_layers < few.n_gpu_layers
    assert most_cells(GOOD, 64 * 1024, machine, needs) == 64 * 1024


def test_a_cache_for_many_leaves_a_gpu_its_last_layer() -> None:
    """What is computed with grows as well, and would drive it off."""

    def growing(n_cells: int) -> Needs:
        return needs(n_cells)._replace(compute=BUFFERS + 50 * n_cells)

    machine = budget(GB, gpu(4_800_000))
    cells = most_cells(GOOD, 64 * 1024, machine, growing)
    assert GOOD < cells < 64 * 1024
    assert machine.arrange(growing(cells)).n_gpu_layers > 0
    assert machine.arrange(growing(cells + STEP)).n_gpu_layers == 0


@pytest.mark.parametrize("asked", [-1, 0, 1, MAX_CONTEXT + 1, 2**32])
def test_sizes_that_no_context_has(asked: int) -> None:
    """llama.cpp takes 0 for the model's own, and overflows beyond 32 bits."""
    with pytest.raises(UsageError, match=str(asked)):
        settle(4096, asked, budget(None), needs)


@pytest.mark.parametrize("available", [None, 2**60])
def test_a_file_cannot_ask_for_more_than_llama_cpp_counts(available: int | None) -> None:
    """A limit that a file declares may be any number."""
    assert settle(2**31 - 1, None, budget(available), needs).context.n_ctx == MAX_CONTEXT
