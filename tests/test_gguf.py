"""GGUF headers: what they say, and what is refused before llama.cpp sees it."""

from __future__ import annotations

import contextlib
import errno
import struct
import time
from pathlib import Path

import ggufs
import pytest
from gguf import GGUFValueType
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lokal import gguf
from lokal.errors import (
    DamagedFileError,
    LayoutError,
    LoadError,
    LokalError,
    ModelNameError,
    SpaceError,
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One valid file of each kind, not to be written to."""
    folder = tmp_path_factory.mktemp("gguf")
    return {
        "llama": ggufs.write(folder / "llama.gguf", context=256),
        "mixtral": ggufs.write(folder / "mixtral.gguf", "mixtral"),
        "grok": ggufs.write(folder / "grok.gguf", "grok", template=None),
        "bpe": ggufs.write(folder / "bpe.gguf", vocab="bpe"),
        "bare": ggufs.write(folder / "bare.gguf", vocab=None),
    }


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _header(*items: bytes, tensors: int = 0, tail: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, len(items)) + b"".join(items) + tail


def _array(key: str, kind: int, count: int, data: bytes = b"") -> bytes:
    return _string(key) + struct.pack("<IIQ", 9, kind, count) + data


class TestHeader:
    def test_says_what_the_model_is(self, files: dict[str, Path]) -> None:
        header = gguf.check(files["llama"])
        assert header.architecture == "llama"
        assert header.name == "tiny llama"
        assert header.license == "mit"
        assert header.quantization == "F16"
        assert (header.context_length, header.block_count, header.embedding_length) == (256, 2, 64)
        assert (header.head_counts, header.kv_head_counts) == ((4, 4), (2, 2))
        assert (header.key_length, header.value_length) == (16, 16)
        assert header.has_vocabulary
        assert header.vocabulary_size > 256
        assert header.chat_template == ggufs.TEMPLATE
        assert (header.split_no, header.split_count) == (0, 1)

    def test_counts_experts(self, files: dict[str, Path]) -> None:
        header = gguf.check(files["mixtral"])
        assert (header.expert_count, header.expert_used_count) == (8, 2)

    def test_counts_weights_and_bytes(self, files: dict[str, Path]) -> None:
        header = gguf.check(files["llama"])
        vocabulary = header.vocabulary_size
        matrices = 2 * vocabulary * 64 + 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64)
        norms = 64 + 2 * 2 * 64
        assert header.parameters == matrices + norms
        assert header.weights_bytes == 2 * matrices + 4 * norms
        # The last tensor may be padded beyond what the file must hold.
        assert 0 <= files["llama"].stat().st_size - header.file_size < header.alignment

    def test_quantized_tensors_have_the_size_of_their_blocks(self, tmp_path: Path) -> None:
        header = gguf.check(ggufs.write(tmp_path / "q8.gguf", type="Q8_0"))
        tensor = next(t for t in header.tensors if t.name == "token_embd.weight")
        assert tensor.type == "Q8_0"
        assert tensor.nbytes == tensor.parameters // 32 * 34

    def test_takes_head_counts_that_differ_by_block(self, tmp_path: Path) -> None:
        heads = {"deci.attention.head_count": [4, 0], "deci.attention.head_count_kv": [2, 0]}
        header = gguf.check(ggufs.write(tmp_path / "x.gguf", "deci", metadata=heads))
        assert header.kv_head_counts == (2, 0)

    def test_takes_the_sampling_that_the_file_recommends(self, tmp_path: Path) -> None:
        recommended = {
            "general.sampling.temp": 0.7,  # 0.699999988 with the 24 bits of the file
            "general.sampling.top_k": ggufs.Typed(20, GGUFValueType.INT32),
            "general.sampling.min_p": float("nan"),
            "general.sampling.top_p": "high",
            "general.sampling.penalty_repeat": 1.25,
        }
        path = ggufs.write(tmp_path / "x.gguf", metadata=recommended)
        assert gguf.check(path).sampling() == {
            "temperature": 0.7,
            "top_k": 20,
            "repeat_penalty": 1.25,
        }

    def test_names_the_commonest_type_where_the_file_names_none(self, tmp_path: Path) -> None:
        path = ggufs.write(tmp_path / "x.gguf", type="Q8_0", metadata={"general.file_type": None})
        assert gguf.check(path).quantization == "Q8_0"

    def test_does_without_a_vocabulary(self, files: dict[str, Path]) -> None:
        header = gguf.check(files["bare"])
        assert not header.has_vocabulary
        assert header.vocabulary_size > 0


class TestParse:
    def test_asks_for_as_much_as_it_needs(self, files: dict[str, Path]) -> None:
        """A reader over the network gets on with every request, and to the end."""
        data = files["llama"].read_bytes()
        sizes = [16]
        for _ in range(20):
            try:
                header = gguf.parse(data[: sizes[-1]])
            except gguf.NeedMore as more:
                sizes.append(max(more.size, 2 * sizes[-1]))
        assert sizes == sorted(set(sizes))
        assert header == gguf.read(files["llama"])

    def test_steps_over_a_large_vocabulary_quickly(self) -> None:
        tokens = b"".join(_string(f"token {number}") for number in range(150_000))
        merges = b"".join(_string(f"to ken{number}") for number in range(280_000))
        data = _header(
            _array("tokenizer.ggml.tokens", 8, 150_000, tokens),
            _array("tokenizer.ggml.token_type", 5, 150_000, bytes(600_000)),
            _array("tokenizer.ggml.merges", 8, 280_000, merges),
        )
        best = min(_timed(data) for _ in range(5))
        assert best < 0.3  # 0.04 s where this was written; machines under test are busy

    @pytest.mark.parametrize(
        "data",
        [
            _header(tensors=2**60),
            b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63),
            _header(_array("a", 8, 2**62)),
            _header(_array("a", 4, 2**63 + 5)),
            _header(_array("a", 9, 1)),
            _header(_array("a", 77, 1)),
            _header(_string("a") + struct.pack("<II", 77, 0)),
            _header(struct.pack("<Q", 2**64 - 8)),
            _header(_string("a") + struct.pack("<IQ", 8, 2**63)),
            _header(_string("a") + b"\x00" * 5, _string("a") + b"\x00" * 5),
            _header(_string("") + b"\x00" * 5),
            _header(_string("a\0b") + b"\x00" * 5),
            _header(_array("a", 8, 2_000, struct.pack("<Q", 2**64 - 1) * 2_000)),
            _header(_string("general.alignment") + struct.pack("<II", 4, 3)),
            _header(_string("general.alignment") + struct.pack("<II", 4, 0)),
            _header(tensors=1, tail=_string("t") + struct.pack("<IQ", 9, 1)),
            _header(tensors=1, tail=_string("t") + struct.pack("<IQQIQ", 2, 0, 4, 0, 0)),
            _header(tensors=1, tail=_string("t") + struct.pack("<IQQIQ", 2, 2**40, 2**40, 0, 0)),
            _header(tensors=1, tail=_string("t") + struct.pack("<IQIQ", 1, 33, 12, 0)),
            _header(tensors=1, tail=_string("t") + struct.pack("<IQIQ", 1, 32, 99, 0)),
            _header(tensors=1, tail=_string("t") + struct.pack("<IQIQ", 1, 32, 0, 64)),
            _header(tensors=2, tail=(_string("t") + struct.pack("<IQIQ", 1, 0, 0, 0)) * 2),
            b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
            b"GGUF" + struct.pack("<IQQ", 1, 0, 0),
            b"GGUF" + struct.pack("<IQQ", 4, 0, 0),
        ],
    )
    def test_refuses_absurd_headers(self, data: bytes) -> None:
        with pytest.raises(LoadError):
            gguf.parse(data)


def _timed(data: bytes) -> float:
    start = time.perf_counter()
    gguf.parse(data)
    return time.perf_counter() - start


class TestCheck:
    def test_names_what_a_file_looks_like(self, tmp_path: Path) -> None:
        """People download web pages and pointers instead of weights; the message says which."""
        looks = {
            b"<!DOCTYPE html><title>Login</title>": "web page",
            b"version https://git-lfs.github.com/spec/v1": "Git LFS",
            b"PK\x03\x04" + bytes(60): "zip",
            struct.pack("<Q", 64) + b'{"__metadata__":{}}': "safetensors",
            b"\x80\x02}q\x00": "pickled",
            b"\x1f\x8b\x08": "compressed",
            b"tjgg" + bytes(9): "before GGUF",
            b"just some words": "text file",
            bytes(100): "zeros",
        }
        for data, words in looks.items():
            path = tmp_path / "model.gguf"
            path.write_bytes(data)
            with pytest.raises(DamagedFileError, match=words):
                gguf.check(path)

    def test_refuses_what_is_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(ModelNameError, match="no such file"):
            gguf.check(tmp_path / "none.gguf")
        with pytest.raises(LoadError, match="directory"):
            gguf.check(tmp_path)
        empty = tmp_path / "empty.gguf"
        empty.touch()
        with pytest.raises(DamagedFileError, match="empty"):
            gguf.check(empty)
        with pytest.raises(ModelNameError):
            gguf.check(empty / "inside.gguf")

    def test_says_how_much_of_a_truncated_file_is_there(self, tmp_path: Path) -> None:
        path = ggufs.write(tmp_path / "x.gguf")
        whole = gguf.check(path).file_size
        ggufs.truncate(path, 200_000)
        with pytest.raises(DamagedFileError, match=f"200000 bytes of {whole}"):
            gguf.check(path)
        ggufs.truncate(path, 3)
        with pytest.raises(DamagedFileError, match="truncated"):
            gguf.check(path)

    def test_refuses_the_layout_with_one_tensor_per_expert(self, tmp_path: Path) -> None:
        path = ggufs.write(tmp_path / "x.gguf", "mixtral-2023")
        with pytest.raises(LayoutError, match="April 2024") as caught:
            gguf.check(path)
        assert "mradermacher/Mixtral-8x7B-Instruct-v0.1-GGUF" in caught.value.hint

    @pytest.mark.parametrize(
        ("arch", "metadata", "words"),
        [
            ("clip", {"general.type": "mmproj"}, "projector"),
            ("clip", {"general.type": None}, "projector"),
            ("llama", {"general.type": "adapter"}, "LoRA"),
            ("llama", {"general.type": "imatrix"}, "importance"),
            ("bert", {}, "token by token"),
            ("llama", {"general.architecture": None}, "no architecture"),
        ],
    )
    def test_refuses_what_writes_no_text(
        self, tmp_path: Path, arch: str, metadata: dict[str, str | None], words: str
    ) -> None:
        with pytest.raises(LoadError, match=words):
            gguf.check(ggufs.write(tmp_path / "x.gguf", arch, metadata=metadata))

    def test_leaves_unknown_architectures_to_llama_cpp(self, tmp_path: Path) -> None:
        """Which architectures there are depends on the llama.cpp that is installed."""
        assert gguf.check(ggufs.write(tmp_path / "x.gguf", "martian")).architecture == "martian"


class TestShards:
    def test_counts_the_tensors_of_all_shards(self, tmp_path: Path) -> None:
        whole = gguf.check(ggufs.write(tmp_path / "whole.gguf"))
        first, *_ = ggufs.write_split(tmp_path / "split.gguf", shards=3)
        header = gguf.check(first)
        assert header.split_count == 3
        assert (header.parameters, header.weights_bytes) == (whole.parameters, whole.weights_bytes)
        size = sum(path.stat().st_size for path in tmp_path.glob("split-*.gguf"))
        assert size - 3 * header.alignment < header.file_size <= size

    def test_names_the_first_shard(self, tmp_path: Path) -> None:
        first, second = ggufs.write_split(tmp_path / "x.gguf")
        with pytest.raises(LoadError, match="shard 2 of 2") as caught:
            gguf.check(second)
        assert str(first) in caught.value.hint

    def test_names_a_missing_or_damaged_shard(self, tmp_path: Path) -> None:
        first, second = ggufs.write_split(tmp_path / "x.gguf")
        ggufs.truncate(second, -100)
        with pytest.raises(DamagedFileError, match=second.name):
            gguf.check(first)
        second.unlink()
        with pytest.raises(LoadError, match=f"missing: .*{second.name}"):
            gguf.check(first)

    def test_refuses_shards_that_are_mixed_up(self, tmp_path: Path) -> None:
        first, second = ggufs.write_split(tmp_path / "x.gguf")
        second.write_bytes(first.read_bytes())
        with pytest.raises(DamagedFileError, match="says that it is shard 1, not 2"):
            gguf.check(first)
        renamed = first.rename(tmp_path / "renamed.gguf")
        with pytest.raises(LoadError, match="split in 2"):
            gguf.check(renamed)

    def test_refuses_pieces_that_were_cut_by_bytes(self, tmp_path: Path) -> None:
        piece = ggufs.write(tmp_path / "x.gguf.part1of2")
        with pytest.raises(LoadError, match="one piece") as caught:
            gguf.check(piece)
        assert "cat x.gguf.part*" in caught.value.hint


_SPM = [token for token, _ in ggufs._spm()]

# Each of these makes llama.cpp 0.3.36 abort the process, divide by zero or answer with NaN.
_FATAL = {
    "no blocks": {"llama.block_count": 0},
    "too many blocks": {"llama.block_count": 513},
    "only prediction layers": {"llama.nextn_predict_layers": 2},
    "no context": {"llama.context_length": 0},
    "a context of unknown length": {"llama.context_length": None},
    "no heads": {"llama.attention.head_count": 0},
    "heads that do not divide": {"llama.attention.head_count_kv": 3},
    "keys unlike values": {"llama.attention.value_length": 8},
    "keys of no length": {"llama.attention.key_length": 0, "llama.attention.value_length": 0},
    "an odd rotation": {"llama.rope.dimension_count": 15},
    "more experts in use than there are": {"llama.expert_used_count": 1},
    "no experts in use": {"llama.expert_count": 8},
    "too many experts": {"llama.expert_count": 1025, "llama.expert_used_count": 1},
    "groups without experts": {"llama.expert_group_count": 2},
    "unknown rope scaling": {"llama.rope.scaling.type": "warp"},
    "a rotation into nothing": {"llama.rope.freq_base": float("nan")},
    "a negative epsilon": {"llama.attention.layer_norm_rms_epsilon": -1.0},
    "an epsilon that is no number": {"llama.attention.layer_norm_rms_epsilon": float("nan")},
    "the same token twice": {"tokenizer.ggml.tokens": [*_SPM[:-1], "<s>"]},
    "the same token up to a NUL": {"tokenizer.ggml.tokens": [*_SPM[:-2], "x\0y", "x\0z"]},
    "an empty token named like another": {
        "tokenizer.ggml.tokens": [*_SPM[:-2], f"[EMPTY_{len(_SPM) - 1}]", ""]
    },
    "a byte without a token": {
        "tokenizer.ggml.tokens": [token.replace("<0x0A>", "??") for token in _SPM]
    },
    "no EOS to add": {
        "tokenizer.ggml.model": "rwkv",
        "tokenizer.ggml.eos_token_id": None,
        "tokenizer.ggml.add_eos_token": True,
    },
    "tokens that begin with what is no token": {"tokenizer.ggml.model": "rwkv"},
    "a tokenizer of encoders": {"tokenizer.ggml.model": "bert"},
    "a rotation that stands still": {"llama.rope.freq_base": 0.0},
    "too little alignment": {"general.alignment": 16},
}


@pytest.mark.parametrize("metadata", _FATAL.values(), ids=list(_FATAL))
def test_refuses_content_that_llama_cpp_aborts_on(
    tmp_path: Path, metadata: dict[str, object]
) -> None:
    with pytest.raises(DamagedFileError):
        gguf.check(ggufs.write(tmp_path / "x.gguf", metadata=metadata))


def test_no_address_space_for_a_file_is_a_lack_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under `ulimit -v`; neither the file nor the disk is to blame."""
    path = ggufs.write(tmp_path / "x.gguf")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr("mmap.mmap", full)
    with pytest.raises(SpaceError, match="no memory to read"):
        gguf.check(path)


class TestHostile:
    """Whatever is in a file, the answer is a header or one of our errors, and soon."""

    @given(start=st.integers(0, 30_000), data=st.binary(min_size=1, max_size=16))
    @settings(max_examples=300, deadline=None)
    @example(start=8, data=b"\xff" * 16)
    def test_mutated_headers(self, files: dict[str, Path], start: int, data: bytes) -> None:
        original = bytearray(files["mixtral"].read_bytes())
        original[start : start + len(data)] = data
        self._survives(files["mixtral"].with_name("mutated.gguf"), bytes(original))

    @given(keep=st.integers(0, 300_000))
    @settings(max_examples=100, deadline=None)
    def test_truncated_files(self, files: dict[str, Path], keep: int) -> None:
        data = files["llama"].read_bytes()[:keep]
        self._survives(files["llama"].with_name("cut.gguf"), data)

    @given(data=st.binary(max_size=200))
    @settings(max_examples=200, deadline=None)
    def test_random_headers(self, files: dict[str, Path], data: bytes) -> None:
        start = b"GGUF" + struct.pack("<I", 3)
        self._survives(files["llama"].with_name("random.gguf"), start + data)

    def _survives(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)
        with contextlib.suppress(LokalError):
            self._read_everything(gguf.check(path))

    def _read_everything(self, header: gguf.Header) -> None:
        for name in dir(header):
            if not name.startswith("_"):
                getattr(header, name)
        header.sampling()
