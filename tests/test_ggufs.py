"""The tiny models of the tests are real ones: llama.cpp loads them and decodes."""

from __future__ import annotations

import ctypes
import math
from pathlib import Path
from typing import Any

import ggufs
import pytest


@pytest.fixture(scope="module")
def native() -> Any:
    """The raw bindings; pytest captures what they log."""
    from llama_cpp import llama_cpp

    llama_cpp.llama_backend_init()
    return llama_cpp


def _continue(native: Any, path: Path, prompt: list[int], count: int) -> list[int]:
    """Greedy tokens after a prompt, through the raw API and nothing of ours."""
    model = native.llama_model_load_from_file(
        str(path).encode(), native.llama_model_default_params()
    )
    assert model
    params = native.llama_context_default_params()
    params.n_ctx, params.n_threads, params.n_threads_batch = 256, 1, 1
    context = native.llama_init_from_model(model, params)
    assert context
    size = native.llama_vocab_n_tokens(native.llama_model_get_vocab(model))
    answer: list[int] = []
    step = prompt
    for _ in range(count):
        batch = native.llama_batch_get_one((ctypes.c_int32 * len(step))(*step), len(step))
        assert native.llama_decode(context, batch) == 0
        row = native.llama_get_logits_ith(context, -1)[:size]
        assert all(map(math.isfinite, row))
        step = [max(range(size), key=row.__getitem__)]
        answer += step
    native.llama_free(context)
    native.llama_model_free(model)
    return answer


@pytest.mark.parametrize(
    ("arch", "knobs"),
    [
        ("llama", {}),
        ("llama", {"type": "Q8_0"}),
        ("llama", {"vocab": "bpe"}),
        ("llama", {"vocab": None}),
        ("mixtral", {}),
        ("grok", {}),
    ],
)
def test_llama_cpp_decodes_them(
    native: Any, tmp_path: Path, arch: str, knobs: dict[str, Any]
) -> None:
    path = ggufs.write(tmp_path / "x.gguf", arch, **knobs)
    assert path.stat().st_size < 1_000_000
    answer = _continue(native, path, [1, 100, 200], 16)
    assert len(set(answer)) > 4  # it does not get stuck on a token


def test_shards_are_the_same_model(native: Any, tmp_path: Path) -> None:
    whole = ggufs.write(tmp_path / "whole.gguf")
    first, _ = ggufs.write_split(tmp_path / "split.gguf")
    prompt = [1, 100, 200]
    assert _continue(native, first, prompt, 8) == _continue(native, whole, prompt, 8)


@pytest.mark.parametrize("arch", ["mixtral-2023", "martian"])
def test_llama_cpp_refuses_these(native: Any, tmp_path: Path, arch: str) -> None:
    path = ggufs.write(tmp_path / "x.gguf", arch)
    params = native.llama_model_default_params()
    assert not native.llama_model_load_from_file(str(path).encode(), params)


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    first, second, other = (
        ggufs.write(tmp_path / f"{number}.gguf", seed=number // 2).read_bytes()
        for number in range(3)
    )
    assert first == second != other
