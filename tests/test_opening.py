"""What is loaded where, on machines made up of fakes, and what happens when memory falls short."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ggufs
import pytest
from fake_ggml import CPU, GB, FakeDevice, FakeGgml

import lokal
from lokal import opening, planning
from lokal.engine import build
from lokal.engine.interrupt import Interrupt
from lokal.engine.llama import AllocationError
from lokal.engine.offload import CPU_ONLY, Offload
from lokal.engine.plan import Shape
from lokal.errors import GpuError, SpaceError, UsageError
from lokal.gguf import check
from lokal.hardware.budget import Machine
from lokal.hardware.gpus import Gpu
from lokal.loading import LoadOptions
from lokal.opening import Opened, open_model
from lokal.planning import plan
from lokal.weights import Weights

MB = 10**6


class Native:
    """Stands for llama.cpp: takes what it is given, unless that is more than the test allows."""

    def __init__(self, allowed: Callable[[Offload, Shape | None], bool]) -> None:
        self.allowed = allowed
        self.tried: list[tuple[int, int | None]] = []
        """Layers on GPUs, and the context once the weights were there."""
        self.offload = CPU_ONLY
        self.closed = 0
        self.buffers: list[Any] = []
        self.shares_prefixes = True
        self.unlocked: str | None = None

    def model(self, *_: Any, offload: Offload, **__: Any) -> Native:
        self.offload = offload
        self._take(None)
        return self

    def context(self, _model: Any, _interrupt: Any, shape: Shape, **_: Any) -> Native:
        self._take(shape)
        return self

    def close(self) -> None:
        self.closed += 1

    def _take(self, shape: Shape | None) -> None:
        self.tried.append((sum(self.offload.layers), shape and shape.n_ctx))
        if not self.allowed(self.offload, shape):
            raise AllocationError("no memory for the weights: unable to allocate", hint="less")


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> Native:
    """It allows everything, until a test says otherwise."""
    fake = Native(lambda _offload, _shape: True)
    monkeypatch.setattr(opening, "LlamaModel", fake.model)
    monkeypatch.setattr(opening, "LlamaContext", fake.context)
    monkeypatch.setattr(planning, "available_bytes", lambda: 8 * GB)
    monkeypatch.setattr("lokal.hardware.gpus.present", lambda: ())
    return fake


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """Eight layers and the output: 9 to put on GPUs."""
    path = ggufs.write(tmp_path_factory.mktemp("opening") / "eight.gguf", blocks=8, context=4096)
    return Weights("eight", path, check(path), None)


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    path = ggufs.write(
        tmp_path_factory.mktemp("opening") / "moe.gguf", "mixtral", blocks=8, feed_forward=4096
    )
    return Weights("moe", path, check(path), None)


def opened(weights: Weights, **options: Any) -> Opened:
    asked = LoadOptions(**options)
    asked.check()
    return open_model(weights, asked, Interrupt())


def gpu(free: int, total: int | None = None, name: str = "CUDA0") -> FakeDevice:
    return FakeDevice(name, free=free, total=total or free)


def test_a_gpu_is_used_without_a_flag(
    native: Native, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All layers, and nothing to say about it but in the description."""
    FakeGgml([gpu(24 * GB), CPU]).install(monkeypatch)
    found = opened(weights)
    assert native.offload == Offload((1,), (9,), 9)
    assert found.notes == ()
    assert found.plan.placement.description == "9 of 9 layers on CUDA0 (NVIDIA GeForce RTX 4090)"


def test_two_gpus_share_the_layers(
    native: Native, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And --split none takes the one that --main-gpu names."""
    sizes = plan(weights, LoadOptions(), Machine(8 * GB)).needs
    total = sizes.total + 4 * sizes.entry  # two cards take turns on four batches
    cards = [gpu(total * 8 // 10, total), CPU, gpu(total, 3 * total // 2, "CUDA1")]
    FakeGgml(cards).install(monkeypatch)
    opened(weights)
    assert native.offload.devices == (1, 3)
    assert sum(native.offload.layers) == 9
    FakeGgml([gpu(24 * GB), CPU, gpu(24 * GB, name="CUDA1")]).install(monkeypatch)
    opened(weights, split="none", main_gpu=1)
    assert (native.offload.devices, native.offload.layers) == ((3,), (9,))
    opened(weights, split="2,1")
    assert native.offload.layers == (6, 3)
    with pytest.raises(UsageError, match="no GPU 2"):
        opened(weights, split="none", main_gpu=2)


def test_a_small_gpu_takes_what_fits_and_it_is_said(
    native: Native, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest stays with the CPU; a GPU that holds no layer is named too."""
    sizes = plan(weights, LoadOptions(), Machine(8 * GB)).needs
    some = (
        sizes.compute + sizes.output + sum(layer.weights + layer.kv for layer in sizes.layers[4:])
    )
    FakeGgml([gpu(some, 10 * some // 9), CPU]).install(monkeypatch)
    found = opened(weights)
    assert 0 < sum(native.offload.layers) < 9
    assert len(found.notes) == 1
    assert "of 9 layers on CUDA0" in found.notes[0]
    FakeGgml([gpu(1 * MB), CPU]).install(monkeypatch)
    found = opened(weights)
    assert native.offload.layers == ()
    assert "no layer fits on CUDA0 (1.0 MB free); the CPU" in found.notes[0]


def test_experts_stay_in_main_memory_before_layers_do(
    native: Native, mixture: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attention is on the GPU then, for all layers."""
    sizes = plan(mixture, LoadOptions(), Machine(8 * GB)).needs
    experts = sum(layer.experts for layer in sizes.layers)
    FakeGgml([gpu(sizes.total - experts // 3, 2 * sizes.total), CPU]).install(monkeypatch)
    monkeypatch.setattr("lokal.hardware.placement.margin", lambda _: 0)
    monkeypatch.setattr("lokal.engine.build.cpu_buffer_type", lambda: 77)
    found = opened(mixture)
    assert sum(native.offload.layers) == 9
    assert 0 < native.offload.experts_in_memory < 8
    assert native.offload.memory == 77
    assert "experts of" in found.notes[0]


def test_gpus_are_left_alone_where_no_layer_is_to_go_there(
    native: Native, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their devices are not even looked at."""
    monkeypatch.setattr("lokal.engine.build.supports_gpu", None)
    found = opened(weights, gpu_layers="0")
    assert (native.offload, found.notes) == (Offload((), (), 9), ())


def test_few_steps_down_where_an_allocation_fails(
    native: Native, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What memory says and what it gives are two things; it is told once, and what came of it."""
    FakeGgml([gpu(24 * GB), CPU]).install(monkeypatch)
    native.allowed = lambda offload, _: sum(offload.layers) <= 2
    found = opened(weights)
    assert native.tried == [(9, None), (4, None), (2, None), (2, 4096)]
    assert found.notes == (
        "no memory for the weights: unable to allocate; loaded instead:"
        " 2 of 9 layers on CUDA0 (NVIDIA GeForce RTX 4090)",
    )
    assert native.closed == 0
    native.tried.clear()
    native.allowed = lambda offload, _: not offload.layers
    found = opened(weights)
    assert [layers for layers, _ in native.tried] == [9, 4, 2, 0, 0]
    assert found.notes == (
        "no memory for the weights: unable to allocate; loaded instead: all of it on the CPU",
    )


def test_experts_of_all_layers_go_before_layers_do(
    native: Native, mixture: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeGgml([gpu(24 * GB), CPU]).install(monkeypatch)
    monkeypatch.setattr("lokal.engine.build.cpu_buffer_type", lambda: 77)
    native.allowed = lambda offload, _: bool(offload.experts_in_memory)
    found = opened(mixture)
    assert (native.offload.layers, native.offload.experts_in_memory) == ((9,), 8)
    assert len(found.notes) == 1
    assert "experts of 8 layers in main memory" in found.notes[0]


def test_a_context_that_is_always_refused_is_not_searched_for_long(
    native: Native, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights are read four times, and stay while smaller contexts are tried."""
    FakeGgml([gpu(24 * GB), CPU]).install(monkeypatch)
    native.allowed = lambda _offload, shape: shape is None
    with pytest.raises(SpaceError):
        opened(weights)
    loads = [layers for layers, context in native.tried if context is None]
    assert loads == [9, 4, 2, 0]
    assert [context for _, context in native.tried] == [None, 4096, 2048, 1024, 512] * 4
    assert native.closed == 4
    native.tried.clear()
    with pytest.raises(SpaceError):
        opened(weights, ctx=4096)
    assert [context for _, context in native.tried] == [None, 4096] * 4


def test_a_cache_for_many_gets_smaller_before_layers_go(
    native: Native, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down to one context, which was asked for."""
    FakeGgml([gpu(24 * GB), CPU]).install(monkeypatch)
    native.allowed = lambda _offload, shape: shape is None or shape.n_cells < 20_000
    found = opened(weights, ctx=4096, parallel=64)
    assert native.tried == [(9, None)] + [(9, 4096)] * 3
    assert found.plan.shape.n_cells == 16 * 1024
    assert found.notes[0].endswith("loaded instead: a KV cache of 16384 tokens")


def test_a_gpu_that_was_filled_meanwhile_is_looked_at_again(
    native: Native, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step to what is free now, and where layers were asked for it says how many would fit."""
    sizes = plan(weights, LoadOptions(), Machine(8 * GB)).needs
    part = sizes.compute + sizes.output + 3 * (sizes.layers[-1].weights + sizes.layers[-1].kv)

    def fill(offload: Offload, _: Shape | None) -> bool:
        ggml.found[0] = gpu(part, 24 * GB)
        return sum(offload.layers) < 9

    native.allowed = fill
    monkeypatch.setattr("lokal.hardware.placement._RESERVE", 0)
    monkeypatch.setattr("lokal.hardware.placement.margin", lambda _: 0)
    ggml = FakeGgml([gpu(24 * GB), CPU])
    ggml.install(monkeypatch)
    found = opened(weights, ctx=4096)
    n = sum(native.offload.layers)
    assert 0 < n < 7
    assert [layers for layers, _ in native.tried] == [9, n, n]
    assert f"loaded instead: {n} of 9 layers" in found.notes[0]
    ggml.found[0] = gpu(24 * GB)
    with pytest.raises(SpaceError) as caught:
        opened(weights, gpu_layers="all", ctx=4096)
    assert f"--gpu-layers {n} fits" in caught.value.hint


def test_what_was_asked_for_is_not_made_less(
    native: Native, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an error that says so."""
    FakeGgml([gpu(24 * GB), CPU]).install(monkeypatch)
    native.allowed = lambda _offload, shape: shape is None
    for asked in ({"gpu_layers": "all", "ctx": 1024}, {"gpu_layers": "5", "ctx": 1024}):
        with pytest.raises(SpaceError):
            opened(weights, **asked)
    assert {context for _, context in native.tried} == {None, 1024}


def test_the_context_is_halved_only_where_nobody_asked_for_it(
    native: Native, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU there is nothing else to give up."""
    FakeGgml().install(monkeypatch)
    native.allowed = lambda _offload, shape: shape is None or shape.n_ctx <= 1024
    found = opened(weights)
    assert [context for _, context in native.tried if context] == [4096, 2048, 1024]
    assert [context for _, context in native.tried].count(None) == 1
    (note,) = found.notes
    assert note.endswith("; loaded instead: a context of 1024 tokens of 4096")
    native.allowed = lambda _offload, shape: shape is None
    with pytest.raises(SpaceError):
        opened(weights)
    with pytest.raises(SpaceError):
        opened(weights, ctx=4096)


def test_a_card_that_does_not_say_its_memory_is_named(
    native: Native, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And another one used; alone it gets what is demanded."""
    silent = FakeDevice(free=0, total=0)
    FakeGgml([silent, CPU, gpu(24 * GB, name="CUDA1")]).install(monkeypatch)
    found = opened(weights)
    assert native.offload == Offload((3,), (9,), 9)
    assert found.notes == ("CUDA0 is not used, as it does not say its memory",)
    FakeGgml([silent, CPU]).install(monkeypatch)
    found = opened(weights)
    assert native.offload.layers == ()
    assert found.notes == (
        "no layer fits on CUDA0 (it does not say its memory); the CPU computes everything",
    )
    opened(weights, gpu_layers=4)
    assert native.offload.layers == (4,)


def test_no_more_gpus_than_llama_cpp_takes(
    native: Native, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lists have 16 places."""
    cards = [gpu(GB, name=f"CUDA{number}") for number in range(20)]
    FakeGgml([*cards, CPU]).install(monkeypatch)
    shares = ",".join("1" * 16)
    opened(weights, split=shares)
    assert max(native.offload.devices) <= 16
    with pytest.raises(UsageError, match="shares for 17 GPUs, and there are 16"):
        opened(weights, split=f"{shares},1")


def test_a_model_turns_out_not_to_share_prefixes(
    native: Native, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its header did not tell; only its cache is made anew."""
    FakeGgml([gpu(24 * GB), CPU]).install(monkeypatch)
    native.shares_prefixes = False
    found = opened(weights, parallel=4)
    assert (found.plan.shape.n_slots, found.plan.shape.share) == (4, False)
    assert found.plan.placement.whole


def test_a_required_gpu_is_used_or_it_is_an_error(
    native: Native, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None here, none that has room, and one that lets it down while it loads."""
    FakeGgml([CPU]).install(monkeypatch)
    with pytest.raises(GpuError, match="no GPU in this machine"):
        opened(weights, require_gpu=True)
    FakeGgml([gpu(1 * MB), CPU]).install(monkeypatch)
    with pytest.raises(GpuError, match="no layer fits on CUDA0"):
        opened(weights, require_gpu=True)
    assert native.tried == []
    FakeGgml([gpu(24 * GB), CPU]).install(monkeypatch)
    native.allowed = lambda offload, _: not offload.layers
    with pytest.raises(GpuError):
        opened(weights, require_gpu=True)
    with pytest.raises(UsageError, match="--require-gpu"):
        opened(weights, require_gpu=True, gpu_layers=0)


def test_a_gpu_that_the_build_cannot_use_is_told(
    native: Native, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, and not where nobody wants one."""
    FakeGgml([CPU]).install(monkeypatch)
    assert opened(weights).notes == ()
    for asked in {"gpu_layers": "all"}, {"split": "none", "main_gpu": 3}:
        assert opened(weights, **asked).notes == ("there is no GPU; the CPU computes everything",)
    card = Gpu("nvidia", "NVIDIA H200", None, None)
    monkeypatch.setattr("lokal.hardware.gpus.present", lambda: (card,))
    (note,) = opened(weights).notes
    assert "cannot use NVIDIA H200; llm doctor" in note
    assert opened(weights, gpu_layers=0).notes == ()
    with pytest.raises(GpuError, match="cannot use NVIDIA H200"):
        opened(weights, require_gpu=True)
    assert len(native.tried) == 10


def test_main_memory_that_does_not_suffice_is_refused_before_loading(
    native: Native, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with a context that does, it says which."""
    FakeGgml().install(monkeypatch)
    monkeypatch.setattr(planning, "available_bytes", lambda: 100_000)
    with pytest.raises(SpaceError) as caught:
        opened(weights)
    assert "needs" in caught.value.message
    monkeypatch.setattr(planning, "available_bytes", lambda: 60 * MB)
    with pytest.raises(SpaceError) as caught:
        opened(weights, ctx=10**6)
    fits = int(caught.value.hint.split()[1])
    assert opened(weights, ctx=fits).plan.context.n_ctx == fits
    assert len(native.tried) == 2


def test_a_mapped_file_may_be_larger_than_the_memory_if_that_is_demanded(
    native: Native, mixture: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is slow, so it is said; and what cannot be kept in memory, though demanded, as well."""
    FakeGgml().install(monkeypatch)
    monkeypatch.setattr(planning, "available_bytes", lambda: mixture.header.weights_bytes)
    with pytest.raises(SpaceError):
        opened(mixture)
    assert any("read from the disk" in note for note in opened(mixture, load_mode="mmap").notes)
    native.unlocked = "warning: failed to mlock"
    monkeypatch.setattr(planning, "available_bytes", lambda: 8 * GB)
    assert opened(mixture, load_mode="mlock").notes == (native.unlocked,)


def test_the_python_api_takes_the_same_options(tmp_path: Path) -> None:
    """On real weights, and a KV cache of another type is half as large."""
    llama = ggufs.write(tmp_path / "wide.gguf", width=128)
    taken = {}
    for kind in ("f16", "q8_0"):
        with lokal.load(str(llama), ctx=4096, threads=1, kv_type=kind) as model:
            assert model.generate("hello", max_tokens=2).text is not None
            taken[kind] = model.memory.taken
    assert taken["q8_0"] < taken["f16"]
    if not build.supports_gpu():
        with pytest.raises(GpuError):
            lokal.load(str(llama), require_gpu=True)
