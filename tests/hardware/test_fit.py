"""Whether a model fits, before there is a header to read; and what no header can break."""

from __future__ import annotations

from pathlib import Path

import pytest
import shapes
from hypothesis import given
from hypothesis import strategies as st

from lokal import gguf
from lokal.gguf.header import Header, TensorInfo, Value
from lokal.hardware import fit, memory
from lokal.hardware.fit import Layer, Needs, Room, needs
from lokal.hardware.kv_types import TYPES

GB = 10**9


@pytest.mark.parametrize(
    ("limits", "total"),
    [
        ({}, 16 * 2**30),
        ({"memory.max": "max\n"}, 16 * 2**30),
        ({"memory.max": str(2**30)}, 2**30),
        ({"memory.limit_in_bytes": str(2**30)}, 2**30),
        ({"memory.limit_in_bytes": str(2**63)}, 16 * 2**30),
    ],
)
def test_the_memory_is_the_machines_within_the_cgroup(
    tmp_path: Path, limits: dict[str, str], total: int
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: {16 * 2**20} kB\nMemFree: 1 kB\nMemAvailable: 2 kB\n")
    for name, text in limits.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory.total_bytes(meminfo, [tmp_path]) == total


def test_weights_need_more_than_their_size() -> None:
    """Mistral 7B in Q4_K_M: 4.37 GB, 0.54 GB of KV cache for 4096 tokens, 0.3 GB of buffers."""
    assert 5.2 * GB <= fit.estimate(int(4.37 * GB)) <= 5.5 * GB


@pytest.mark.parametrize(("total", "fits"), [(None, None), (8 * GB, True), (6 * GB, False)])
def test_the_system_needs_room_too(
    monkeypatch: pytest.MonkeyPatch, total: int | None, fits: bool | None
) -> None:
    monkeypatch.setattr(fit, "total_bytes", lambda: total)
    assert fit.fits(int(4.37 * GB)) is fits


KEYS = [
    "block_count", "embedding_length", "feed_forward_length", "vocab_size", "nextn_predict_layers",
    "attention.head_count", "attention.head_count_kv", "attention.key_length",
    "attention.value_length", "attention.key_length_mla", "attention.value_length_mla",
    "attention.key_length_swa", "attention.sliding_window", "attention.sliding_window_pattern",
    "attention.shared_kv_layers", "attention.recurrent_layers", "full_attention_interval",
    "expert_used_count", "expert_feed_forward_length", "ssm.conv_kernel", "ssm.inner_size",
    "ssm.state_size", "ssm.group_count", "wkv.head_size", "token_shift_count", "shortconv.l_cache",
    "kda.head_dim",
]  # fmt: skip
ARCHITECTURES = [
    "llama", "grok", "gemma3", "gemma3n", "gemma4", "llama4", "phi3", "gpt-oss", "deepseek2",
    "mamba2", "rwkv7", "falcon-h1", "lfm2", "nemotron_h", "qwen3next", "minimax-01", "martian", "",
]  # fmt: skip
NUMBERS = st.integers(0, 100) | st.integers(-(2**63), 2**64)
SCALARS = NUMBERS | st.booleans() | st.floats() | st.text(max_size=3)
VALUES = SCALARS | st.lists(SCALARS, max_size=8).map(tuple)
NAMES = st.sampled_from(
    ["token_embd.weight", "output.weight", "blk.0.attn_q.weight", "blk..x", "x"]
)
ROOMS = st.builds(
    Room,
    n_cells=st.integers(1, 2**27),
    n_streams=st.integers(1, 256),
    n_slots=st.integers(1, 256),
    n_batch=st.integers(1, 4096),
    key_type=st.sampled_from(list(TYPES)),
    value_type=st.sampled_from(list(TYPES)),
    flash=st.booleans(),
    whole_windows=st.booleans(),
)


@given(
    st.sampled_from(ARCHITECTURES),
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=20),
    st.lists(st.tuples(NAMES | st.from_regex(r"blk\.\d+\..?"), st.integers(0, 2**40)), max_size=4),
    ROOMS,
)
def test_no_header_breaks_it(
    arch: str, items: dict[str, Value], sizes: list[tuple[str, int]], room: Room
) -> None:
    metadata = {f"{arch}.{key}": value for key, value in items.items()}
    tensors = tuple(TensorInfo(name, (1,), "F32", 0, size) for name, size in sizes)
    needed = needs(Header({"general.architecture": arch, **metadata}, tensors, 0, 32, 0), room)
    assert min(needed[0], *needed[2:], *(size for layer in needed.layers for size in layer)) >= 0


def test_parts_of_the_weights(tmp_path: Path) -> None:
    """Experts are a part of their layer; embeddings that are the output too count once."""
    header = gguf.check(shapes.write(tmp_path, "qwen3-moe"))
    needed = needs(header, Room(512))
    one = 151_936 * 2048 // 32 * 34
    assert (needed.input, needed.output, needed.tied) == (one, one + 2048 * 4, 0)
    assert {layer.experts for layer in needed.layers} == {3 * 128 * 768 * 2048 // 32 * 34}
    assert needed.weights == header.weights_bytes
    tied = needs(gguf.check(shapes.write(tmp_path, "qwen3-0.6b")), Room(512))
    assert tied.tied == tied.input == 151_936 * 1024 // 32 * 34
    assert tied.output == 1024 * 4


def test_layers_that_see_a_window_need_less(tmp_path: Path) -> None:
    header = gguf.check(shapes.write(tmp_path, "gemma3-1b"))
    narrow, whole = needs(header, Room(8192)), needs(header, Room(8192, whole_windows=True))
    cells = [layer.kv // (2 * 256 * 2) for layer in narrow.layers]
    assert cells == ([1024] * 5 + [8192]) * 4 + [1024] * 2
    assert {layer.kv // (2 * 256 * 2) for layer in whole.layers} == {8192}


def test_layers_that_predict_further_tokens_are_not_loaded(llama: Path) -> None:
    header = gguf.check(llama)
    header.metadata["llama.nextn_predict_layers"] = 1  # type: ignore[index]
    first, second = needs(header, Room(512)).layers
    assert second == Layer(0, 0, 0)
    assert first.weights > 0


def test_the_sums_of_needs() -> None:
    needed = Needs(1, (Layer(20, 10, 300), Layer(20, 10, 300)), 2000, 10_000, 100_000, 1)
    assert (needed.weights, needed.kv, needed.total) == (2041, 600, 112_641)
