"""How much of a model a machine takes, before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import shapes

from lokal.gguf import check
from lokal.hardware.budget import Machine
from lokal.hardware.devices import Device
from lokal.loading import LoadOptions
from lokal.planning import plan
from lokal.weights import Weights

MB, GB = 10**6, 10**9


def found(directory: Path, name: str) -> Weights:
    path = shapes.write(directory, name)
    return Weights(name, path, check(path), None)


@pytest.mark.parametrize(("free", "n_parallel", "flash"), [(24 * GB, 64, "auto"), (MB, 48, "off")])
def test_a_gpu_without_room_for_a_layer_is_none(
    tmp_path: Path, free: int, n_parallel: int, flash: str
) -> None:
    """Sequences and attention are those that suit what computes them."""
    weights = found(tmp_path, "llama-1b")
    here = Machine(8 * GB, (Device("CUDA0", "", "gpu", "CUDA", free, 24 * GB, None, 1),))
    assert plan(weights, LoadOptions(parallel="auto"), here).shape.n_parallel == n_parallel
    assert plan(weights, LoadOptions(1024, keep=True), here).shape.flash == flash


def test_a_shared_cache_is_no_larger_than_sequences_use(tmp_path: Path) -> None:
    """Where memory denies each a context of its own, all have 1024 tokens each as a rule."""
    weights = found(tmp_path, "llama-1b")
    own = plan(weights, LoadOptions(2000, parallel=200), Machine(None))
    assert own.shape.n_cells == 200 * 2048
    have = own.needs.total + own.needs.kv // 2
    shape = plan(weights, LoadOptions(2000, parallel=200), Machine(have)).shape
    assert (shape.streams, shape.n_cells) == (False, 200 * 1024)


def test_models_with_a_state_are_planned_without_spare_sequences(tmp_path: Path) -> None:
    """Prefixes cannot be shared, so a state for each of those would be room for nothing."""
    weights = found(tmp_path, "mamba2-1.3b")
    shape = plan(weights, LoadOptions(parallel=48), Machine(None)).shape
    assert (shape.n_slots, shape.share) == (48, False)


def test_a_file_is_mapped_only_where_memory_holds_its_copy_as_well(tmp_path: Path) -> None:
    """Else the kernel takes back the pages of either, over and over, while weights are repacked."""
    weights = found(tmp_path, "llama-1b")
    takes = plan(weights, LoadOptions(2048), Machine(None))
    tight, roomy = Machine(takes.memory + MB), Machine(takes.memory + takes.needs.weights)
    assert [plan(weights, LoadOptions(2048), here).load_mode for here in (tight, roomy)] == [
        "none",
        "auto",
    ]
    assert plan(weights, LoadOptions(2048, load_mode="mlock"), tight).load_mode == "mlock"
    assert plan(weights, LoadOptions(2048, parallel=16), roomy).load_mode == "auto"
