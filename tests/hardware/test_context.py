"""The context size: the user's word, the model's own, or what memory allows."""

from __future__ import annotations

from pathlib import Path

import ggufs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lokal import gguf
from lokal.errors import SpaceError, UsageError
from lokal.gguf import Header
from lokal.hardware.context import LEAST, MAX_CONTEXT, choose

SIZES = st.integers(0, 2**30)
LIMITS = st.integers(2, 2**20)


@pytest.fixture(scope="module")
def header(llama: Path) -> Header:
    """2 blocks of 2 key and value heads of 16 numbers: 256 bytes a token."""
    header = gguf.check(llama)
    assert header.kv_bytes(1) == 256
    return header


@given(LIMITS, SIZES | st.none())
def test_by_default_the_cache_takes_half_of_what_the_weights_leave(
    header: Header, limit: int, available: int | None
) -> None:
    """Never more than the model's limit; a cap is told; some context there always is."""
    context = choose(header, limit, None, available)
    assert min(limit, LEAST) <= context.n_ctx <= limit
    if available is None:
        assert context == (limit, None)
        return
    room = (available - header.weights_bytes) // 2
    if context.n_ctx > LEAST:
        assert header.kv_bytes(context.n_ctx) <= room
    if context.n_ctx < limit:
        assert context.note
        assert str(limit) in context.note
        assert header.kv_bytes(context.n_ctx + 256) > room  # it is the largest
    else:
        assert context.note is None


@given(LIMITS, st.integers(2, MAX_CONTEXT), SIZES | st.none())
def test_what_is_asked_for_is_given_or_refused(
    header: Header, limit: int, asked: int, available: int | None
) -> None:
    """No silent change; the refusal names a size that would be given."""
    try:
        context = choose(header, limit, asked, available)
    except SpaceError as error:
        assert available is not None
        room = max(0, available - header.weights_bytes)
        assert header.kv_bytes(asked) > room
        word, size = error.hint.split()[:2]
        if word == "-c":
            assert choose(header, limit, int(size), available).n_ctx == int(size)
        else:
            assert room < header.kv_bytes(256)
    else:
        assert context.n_ctx == asked
        assert bool(context.note) == (asked > limit)


@pytest.mark.parametrize("asked", [-1, 0, 1, MAX_CONTEXT + 1, 2**32])
def test_sizes_that_no_context_has(header: Header, asked: int) -> None:
    """llama.cpp takes 0 for the model's own, and overflows beyond 32 bits."""
    with pytest.raises(UsageError, match=str(asked)):
        choose(header, 4096, asked, None)


@pytest.mark.parametrize("available", [None, 2**50])
def test_a_file_cannot_ask_for_more_than_llama_cpp_counts(
    tmp_path: Path, available: int | None
) -> None:
    """A limit that a file declares may be any number."""
    header = gguf.check(ggufs.write(tmp_path / "x.gguf", context=2**31 - 1))
    assert header.context_length
    assert choose(header, header.context_length, None, available).n_ctx == MAX_CONTEXT
