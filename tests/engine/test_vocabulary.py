"""What tokens write, asked of real vocabularies by one thread and by several."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import ggufs
import pytest

from lokal.engine.interrupt import Interrupt
from lokal.engine.llama import LlamaModel
from lokal.engine.vocabulary import Vocabulary


@pytest.fixture
def vocabulary(tiny: Path) -> Iterator[Vocabulary]:
    model = LlamaModel(tiny, Interrupt(), vocab_only=True)
    yield model.vocabulary
    model.close()


def test_threads_do_not_write_into_each_other_s_pieces(vocabulary: Vocabulary) -> None:
    """One may resolve a bias or compile a grammar while another one's answer is written."""
    tokens = range(vocabulary.n_tokens)
    expected = [vocabulary.piece(token, special=True) for token in tokens]
    wrong: list[int] = []

    def read() -> None:
        for _ in range(20):
            pieces = [vocabulary.piece(token, special=True) for token in tokens]
            wrong.extend(t for t in tokens if pieces[t] != expected[t])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=read) for _ in range(2)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


def test_a_piece_may_be_of_any_length(tmp_path: Path) -> None:
    """A token of a thousand bytes, and a short one after it."""
    tokens = [token for token, _ in ggufs._spm()]
    tokens[300] = "x" * 1000
    path = ggufs.write(tmp_path / "m.gguf", metadata={"tokenizer.ggml.tokens": tokens})
    model = LlamaModel(path, Interrupt(), vocab_only=True)
    assert model.vocabulary.piece(300) == b"x" * 1000
    assert model.vocabulary.piece(ggufs.BYTE_ID + 65) == b"A"
    model.close()
