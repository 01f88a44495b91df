"""Which layers go to which GPU: what fits is used, and llama.cpp comes to the same."""

from __future__ import annotations

import bisect
import ctypes
import math
from itertools import accumulate

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lokal.errors import SpaceError, UsageError
from lokal.hardware.devices import Device
from lokal.hardware.division import apportioned, evenly
from lokal.hardware.fit import Layer, Needs
from lokal.hardware.placement import Placement, margin, place
from lokal.hardware.wishes import ALL, Wishes

GB, MB = 10**9, 10**6


def gpu(free: int, total: int | None = None, *, number: int = 0, kind: str = "gpu") -> Device:
    total = free if total is None else total
    return Device(f"CUDA{number}", "NVIDIA X", kind, "CUDA", free, total, None, number + 1)


def model(
    n: int, weights: int, kv: int, *, experts: int = 0, output: int = 0, compute: int = 0
) -> Needs:
    """So many layers that are all the same."""
    return Needs(output, (Layer(weights, experts, kv),) * n, output, compute, 0)


LAYERS = st.tuples(st.integers(1, 1000), st.integers(0, 1000), st.integers(0, 500)).map(
    lambda sizes: Layer(sizes[0], min(sizes[:2]), sizes[2])
)
DENSE = LAYERS.map(lambda layer: layer._replace(experts=0))
SMALL = st.integers(0, 400)
NEEDS = st.builds(
    Needs,
    SMALL,
    (st.lists(LAYERS, max_size=12) | st.lists(DENSE, max_size=12)).map(tuple),
    SMALL,
    SMALL,
    SMALL,
    SMALL,
    st.integers(0, 100),
)
MEMORIES = st.lists(st.integers(0, 12_000), min_size=1, max_size=4)


def gpus(memories: list[int]) -> tuple[Device, ...]:
    """Each with a quarter of its memory taken."""
    return tuple(gpu(m, m * 4 // 3 + 1, number=i) for i, m in enumerate(memories))


def assigned(layers: tuple[int, ...], n_layers: int) -> list[int]:
    """What llama_model_base::load_tensors makes of `tensor_split`: layers on each device."""

    def f32(value: float) -> float:
        return ctypes.c_float(value).value

    splits = [f32(end / sum(layers)) for end in accumulate(layers)]
    n_gpu_layers = sum(layers)
    counts = [0] * len(layers)
    for layer in range(n_layers - n_gpu_layers, n_layers):
        at = f32((layer - (n_layers - n_gpu_layers)) / n_gpu_layers)
        counts[bisect.bisect_right(splits, at)] += 1
    return counts


@given(st.lists(st.integers(0, 200), min_size=1, max_size=8), st.integers(0, 50))
def test_llama_cpp_assigns_as_many_layers_as_it_is_given_as_tensor_split(
    layers: list[int], before: int
) -> None:
    """Also where some GPUs have none."""
    assume(any(layers))
    assert assigned(tuple(layers), sum(layers) + before) == layers


@given(NEEDS, MEMORIES)
def test_what_is_put_on_a_gpu_leaves_its_margin(needs: Needs, memories: list[int]) -> None:
    """And every byte has its place once, but for what each device computes with."""
    placement = place(needs, gpus(memories), Wishes())
    loads = placement.load(needs)
    for device, layers, load in zip(placement.gpus, placement.layers, loads, strict=True):
        assert layers > 0
        assert load <= device.free - margin(device)
    assert placement.n_layers == len(needs.layers) + 1 >= placement.n_gpu_layers
    kv_on_gpus = sum(placement.kv(needs))
    weights_on_gpus = needs.weights - placement.weights_in_memory(needs)
    copied = needs.tied if placement.gpus else 0
    buffers = sum(loads) - weights_on_gpus - kv_on_gpus - copied
    # Where weights stay behind, the first GPU has room for some of them as well.
    copies = 3 * needs.entry if placement.whole and len(loads) > 1 else 0
    assert buffers >= len(loads) * needs.compute
    assert buffers == len(loads) * (needs.compute + copies) or not placement.whole
    stay = placement.weights_in_memory(needs) + needs.kv - kv_on_gpus
    compute = needs.entry + copies if placement.whole else needs.compute
    assert placement.in_memory(needs) == stay + compute + needs.results


@given(NEEDS, MEMORIES, st.data())
def test_more_free_memory_never_means_fewer_layers(
    needs: Needs, memories: list[int], data: st.DataObject
) -> None:
    """Nor more experts left behind."""
    more = [memory + data.draw(st.integers(0, 3000)) for memory in memories]
    before, after = place(needs, gpus(memories), Wishes()), place(needs, gpus(more), Wishes())
    assert after.n_gpu_layers >= before.n_gpu_layers
    if after.n_gpu_layers == before.n_gpu_layers:
        assert after.experts_in_memory <= before.experts_in_memory


@given(NEEDS, MEMORIES)
def test_whole_layers_stay_behind_only_if_experts_do_not_suffice(
    needs: Needs, memories: list[int]
) -> None:
    """A dense model has none to leave."""
    placement = place(needs, gpus(memories), Wishes())
    if placement.mixture:
        if placement.n_gpu_layers < placement.n_layers:
            assert placement.experts_in_memory == max(0, placement.n_gpu_layers - 1)
    else:
        assert placement.experts_in_memory == 0


@given(NEEDS, MEMORIES, st.integers(-1, 30))
def test_layers_that_are_asked_for_are_there_or_refused(
    needs: Needs, memories: list[int], asked: int
) -> None:
    """The refusal names a number that would be given, and one more is refused as well."""
    devices = gpus(memories)
    n_layers = len(needs.layers) + 1
    try:
        placement = place(needs, devices, Wishes(asked))
    except SpaceError as error:
        number = int(error.hint.removesuffix(", and auto keeps experts in main memory").split()[1])
        assert number < (n_layers if asked == ALL else asked)
        assert place(needs, devices, Wishes(number)).n_gpu_layers == number
        with pytest.raises(SpaceError):
            place(needs, devices, Wishes(number + 1))
    else:
        assert placement.n_gpu_layers == (n_layers if asked == ALL else min(asked, n_layers))
        assert placement.experts_in_memory == 0
        for device, load in zip(placement.gpus, placement.load(needs), strict=True):
            assert load <= device.free


@given(NEEDS, MEMORIES, st.sampled_from(["layer", "row"]))
def test_steps_down_take_less_each_time_and_end_on_the_cpu(
    needs: Needs, memories: list[int], split: str
) -> None:
    """For a mixture all experts go first, then layers by half: few steps, as each is a load."""
    placement = place(needs, gpus(memories), Wishes(split=split))
    steps = 0
    while smaller := placement.smaller():
        fewer = smaller.n_gpu_layers < placement.n_gpu_layers
        if fewer:
            every_expert = placement.experts_in_memory == placement.n_gpu_layers - 1
            assert every_expert or not placement.mixture
        else:
            assert smaller.experts_in_memory == placement.n_gpu_layers - 1
        assert smaller.weights_in_memory(needs) >= placement.weights_in_memory(needs)
        assert assigned(smaller.layers, smaller.n_layers) == list(smaller.layers)
        placement = smaller
        steps += 1
    assert placement.n_gpu_layers <= 1
    assert steps <= 1 + math.log2(placement.n_layers)


@given(
    st.lists(st.integers(1, 99), min_size=1, max_size=30),
    st.lists(st.integers(-50, 2000), min_size=1, max_size=4),
    st.integers(0, 60),
    st.integers(0, 60),
)
def test_layers_are_divided_if_there_is_any_way(
    sizes: list[int], rooms: list[int], fixed: int, entry: int
) -> None:
    """As trying every way shows: runs in order, where whoever takes part pays, the first more."""

    def possible(at: int, i: int) -> bool:
        if at == len(sizes):
            return True
        if i == len(rooms):
            return False
        left = rooms[i] - fixed - (0 if at else entry)
        ends = [end for end in range(at, len(sizes) + 1) if end == at or sum(sizes[at:end]) <= left]
        return possible(ends[-1], i + 1)

    counts = evenly(sizes, rooms, fixed, entry)
    assert (counts is not None) == possible(0, 0)
    if counts:
        assert sum(counts) == len(sizes)


@given(st.integers(0, 200), st.lists(st.floats(0, 1e6), min_size=1, max_size=6))
def test_shares_are_kept_to_within_one_layer(n: int, shares: list[float]) -> None:
    """All are given out."""
    assume(max(shares) > 0)
    counts = apportioned(n, shares)
    assert sum(counts) == n
    for count, share in zip(counts, shares, strict=True):
        assert abs(count - n * share / math.fsum(shares)) < 1.001


# 8B in Q4_K_M with 8192 tokens: 32 layers of 128 MB, 32 MB of cache each.
EIGHT_B = model(32, 128 * MB, 32 * MB, output=430 * MB, compute=300 * MB)
# Mixtral 8x7B in Q4_K_M with 4096 tokens: nearly all of its 26 GB are experts.
MIXTRAL = model(32, 810 * MB, 16 * MB, experts=780 * MB, output=100 * MB, compute=300 * MB)


def test_a_model_that_fits_goes_to_the_gpu_whole() -> None:
    """Of 24 GB."""
    placement = place(EIGHT_B, (gpu(24 * GB),), Wishes())
    assert placement.whole
    assert placement.description == "33 of 33 layers on CUDA0 (NVIDIA X)"
    assert placement.load(EIGHT_B) == (32 * 160 * MB + 730 * MB,)
    assert placement.in_memory(EIGHT_B) == 430 * MB  # embeddings


def test_experts_of_a_mixture_stay_in_memory_before_layers_do() -> None:
    """26 GB on a card of 8: attention, cache and some experts fit."""
    placement = place(MIXTRAL, (gpu(8 * GB),), Wishes())
    assert placement.n_gpu_layers == 33
    assert placement.experts_in_memory == 26  # six layers of 826 MB, 26 of 46, and one visitor
    assert placement.description.endswith("CUDA0 (NVIDIA X), experts of 26 layers in main memory")
    tight = place(MIXTRAL, (gpu(2 * GB),), Wishes())
    assert (tight.n_gpu_layers, tight.experts_in_memory) == (22, 21)


def test_cards_that_differ_are_filled_alike() -> None:
    """Each to four tenths of what it has free but for the margin; a tiny one idles."""
    devices = (gpu(12 * GB, number=0), gpu(6 * GB, number=1), gpu(GB, number=2))
    placement = place(EIGHT_B, devices, Wishes())
    assert placement.layers == (24, 9)
    assert placement.description == "24 of 33 layers on CUDA0, 9 on CUDA1"
    assert placement.gpus == devices[:2]


def test_a_card_with_next_to_nothing_free_is_left_alone() -> None:
    """300 MB do not hold the buffers of a computation."""
    placement = place(EIGHT_B, (gpu(300 * MB, 8 * GB),), Wishes())
    assert placement == Placement((), (), 33)
    assert placement.description == "on the CPU"
    assert not placement.whole
    assert placement.in_memory(EIGHT_B) == EIGHT_B.total


def test_too_many_layers_are_refused_with_what_fits() -> None:
    """A demand may have nearly all that is free, so more fit than by default."""
    with pytest.raises(SpaceError) as caught:
        place(EIGHT_B, (gpu(4 * GB),), Wishes(ALL))
    assert caught.value.message == (
        "33 of 33 layers need 5.85 GB on GPUs, CUDA0 has 3.80 GB for them"
    )
    assert caught.value.hint == "--gpu-layers 19 fits"
    assert place(EIGHT_B, (gpu(4 * GB),), Wishes(19)).layers == (19,)
    assert place(EIGHT_B, (gpu(4 * GB),), Wishes()).layers == (18,)
    with pytest.raises(SpaceError) as caught:
        place(MIXTRAL, (gpu(300 * MB),), Wishes(5))
    assert caught.value.hint == (
        "--gpu-layers 0 leaves GPUs alone, and auto keeps experts in main memory"
    )


def test_more_layers_than_there_are_mean_all() -> None:
    """As -ngl 99 does; without a GPU it says nothing, and 0 leaves GPUs alone."""
    assert place(EIGHT_B, (gpu(24 * GB),), Wishes(99)).layers == (33,)
    assert place(EIGHT_B, (), Wishes(99)).gpus == ()
    assert place(EIGHT_B, (), Wishes(ALL)).n_gpu_layers == 0
    assert place(EIGHT_B, (gpu(24 * GB),), Wishes(0)).gpus == ()


def test_shares_of_the_user_s_go_before_what_is_free() -> None:
    """As many layers as fit so; a GPU without a share idles."""
    devices = (gpu(12 * GB, number=0), gpu(6 * GB, number=1), gpu(6 * GB, number=2))
    assert place(EIGHT_B, devices, Wishes(shares=(1, 1))).layers == (17, 16)
    assert place(EIGHT_B, devices, Wishes(shares=(0, 1, 1))).gpus == devices[1:]
    assert place(EIGHT_B, devices, Wishes(shares=(0, 0, 1))).layers == (29,)
    with pytest.raises(SpaceError, match="33 of 33 layers"):
        place(EIGHT_B, (devices[1], gpu(GB, number=3)), Wishes(ALL, shares=(1, 9)))


@pytest.mark.parametrize(
    ("total", "kind", "reserve"),
    [(4 * GB, "gpu", 200 * MB), (80 * GB, "gpu", 256 << 20), (80 * GB, "integrated", 0)],
)
def test_a_demand_leaves_what_a_gpu_takes_for_itself(total: int, kind: str, reserve: int) -> None:
    """With the first batch, and where it does not get that it ends the process."""
    (load,) = place(EIGHT_B, (gpu(24 * GB),), Wishes(2)).load(EIGHT_B)
    card = gpu(load + reserve, total, kind=kind)
    assert place(EIGHT_B, (card,), Wishes(2)).layers == (2,)
    with pytest.raises(SpaceError):
        place(EIGHT_B, (card._replace(free=card.free - 1),), Wishes(2))


@pytest.mark.parametrize("shares", [(1, 2, 3), (0,), (-1, 2), (math.nan, 1), (math.inf, 1)])
def test_shares_that_are_none(shares: tuple[float, ...]) -> None:
    """For more GPUs than there are, or no parts of anything."""
    with pytest.raises(UsageError, match="shares"):
        place(EIGHT_B, (gpu(GB), gpu(GB, number=1)), Wishes(shares=shares))


def test_without_a_split_one_gpu_has_it_all() -> None:
    """One that is not there is named beside those that are."""
    devices = (gpu(24 * GB, number=0), gpu(12 * GB, number=1))
    assert place(EIGHT_B, devices, Wishes(split="none", main=1)).gpus == devices[1:]
    with pytest.raises(UsageError, match="no GPU 2") as caught:
        place(EIGHT_B, devices, Wishes(split="none", main=2))
    assert caught.value.hint == "there are 0: CUDA0 (NVIDIA X), 1: CUDA1 (NVIDIA X)"


def test_rows_are_split_by_what_is_free() -> None:
    """Each GPU has a part of every layer, so all of them stay in the list."""
    devices = (gpu(0, 8 * GB, number=0), gpu(6 * GB, number=1), gpu(3 * GB, number=2))
    placement = place(EIGHT_B, devices, Wishes(split="row"))
    assert placement.gpus == devices
    assert placement.layers == (0, 22, 11)


def test_an_embedding_that_is_the_output_layer_is_copied_to_the_gpu() -> None:
    """In main memory it is there once."""
    needs = Needs(500, (Layer(100, 0, 10),) * 3, 5, 0, 0, tied=400)
    placement = place(needs, (gpu(10_000),), Wishes())
    assert placement.load(needs) == (735,)
    assert placement.in_memory(needs) == 500
