"""Types of the KV cache that llama.cpp would refuse, or compute nonsense with."""

from __future__ import annotations

import pytest

from lokal.engine import backend
from lokal.errors import UsageError
from lokal.gguf import Header
from lokal.gguf.header import Value
from lokal.hardware.kv_types import TYPES, check_kv_type, check_kv_types


def header(architecture: str = "llama", **own: Value) -> Header:
    """Heads of 64 numbers."""
    values: dict[str, Value] = {
        "block_count": 2,
        "embedding_length": 256,
        "attention.head_count": 4,
    }
    values |= {name.replace("__", "."): value for name, value in own.items()}
    metadata: dict[str, Value] = {f"{architecture}.{key}": value for key, value in values.items()}
    return Header({"general.architecture": architecture, **metadata}, (), 0, 32, 0)


@pytest.mark.parametrize("name", TYPES)
def test_types_that_every_model_can_have(name: str) -> None:
    """For heads of whole blocks."""
    check_kv_types(header(), name, name)


def test_the_engine_knows_the_same_types() -> None:
    """It has their numbers, hardware their sizes."""
    assert set(backend.TYPES) == set(TYPES)


@pytest.mark.parametrize("name", ["q4_K", "Q8_0", "", "f64", "iq2_xs"])
def test_types_that_no_cache_has(name: str) -> None:
    """The hint names those that there are."""
    with pytest.raises(UsageError) as caught:
        check_kv_type(name)
    assert "f32, f16, bf16, q8_0" in caught.value.hint


def test_quantized_values_need_flash_attention() -> None:
    """Keys do not; grok never has it."""
    check_kv_types(header(), "q8_0", "f16", flash=False)
    with pytest.raises(UsageError, match="q8_0 need flash attention"):
        check_kv_types(header(), "f16", "q8_0", flash=False)
    check_kv_types(header("grok"), "q4_0", "f16")
    with pytest.raises(UsageError, match="for grok"):
        check_kv_types(header("grok"), "f16", "q4_0")


def test_heads_must_be_whole_blocks() -> None:
    """Those of windows as well; plain types have no blocks."""
    odd = header(attention__key_length=80, attention__value_length=48)
    check_kv_types(odd, "f16", "bf16")
    with pytest.raises(UsageError, match="keys of 80 numbers"):
        check_kv_types(odd, "q8_0", "f16")
    with pytest.raises(UsageError, match="values of 48 numbers"):
        check_kv_types(odd, "f16", "q8_0")
    with pytest.raises(UsageError, match="keys of 40 numbers"):
        check_kv_types(header(attention__key_length_swa=40), "q8_0", "f16")


def test_models_that_keep_keys_and_values_in_one_have_one_type() -> None:
    """DeepSeek's compressed attention."""
    compressed = header("deepseek2", attention__key_length_mla=192)
    check_kv_types(compressed, "q8_0", "q8_0")
    with pytest.raises(UsageError, match="keys of type q8_0 and values of type f16"):
        check_kv_types(compressed, "q8_0", "f16")
