"""Writes a 1.1B model with random weights: TinyLlama's shape in the mix of types of Q4_K_M.

    python benchmarks/make_model.py DIRECTORY

Speed does not depend on what the weights are, so nothing needs to be downloaded. The file has
0.67 GB; its path is printed. The vocabulary is synthetic: common English words are one token each.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

BLOCKS, WIDTH, HEADS, KV_HEADS, FEED_FORWARD, VOCABULARY = 22, 2048, 32, 4, 5632, 32_000
CONTEXT = 2048

WORDS = """
the of and to in is that for it as was with be by on not he his but at are this have from they
which one you had her all she there would their we him been has when who will more no if out so
said what up its about into than them can only other new some could time these two may then do
first any my now such like our over man me even most made after also did many before must through
back years where much your way well down should because each just those people how too little
state good very make world still own see men work long get here between both life being under
never day same another know while last might us great old year off come since against go came
right used take three water house light story river morning village quiet small bread garden
"""

_Q4_K, _Q6_K = gguf.GGMLQuantizationType.Q4_K, gguf.GGMLQuantizationType.Q6_K
_F32 = gguf.GGMLQuantizationType.F32
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("directory", type=Path, help="a cache outside the repository")
    sys.stdout.write(f"{make(parser.parse_args().directory)}\n")


def make(directory: Path) -> Path:
    """Write the model unless it is there; a half-written one never has its final name."""
    path = directory / "random-1b-q4_k_m.gguf"
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        _write(unfinished)
        unfinished.replace(path)
    return path


def _write(path: Path) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("random 1.1B")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    writer.add_quantization_version(2)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(BLOCKS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(VOCABULARY)
    _add_vocabulary(writer)
    tensors = list(_tensors())
    for name, (rows, columns), kind in tensors:
        if kind == _F32:
            writer.add_tensor_info(name, (columns,), np.dtype(np.float32), columns * 4)
        else:
            size = _row_bytes(columns, kind)
            shape = (rows, size)
            writer.add_tensor_info(name, shape, np.dtype(np.uint8), rows * size, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    random = np.random.default_rng(1)
    for _, (rows, columns), kind in tensors:
        writer.write_tensor_data(_weights(random, rows, columns, kind))
    writer.close()


def _add_vocabulary(writer: gguf.GGUFWriter) -> None:
    pieces = itertools.islice(_pieces(), VOCABULARY - 259)
    tokens = [("<unk>", _UNKNOWN), ("<s>", _CONTROL), ("</s>", _CONTROL)]
    tokens += [(f"<0x{byte:02X}>", _BYTE) for byte in range(256)]
    tokens += [(piece, _NORMAL) for piece in pieces]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([token for token, _ in tokens])
    writer.add_token_scores([float(-index) for index in range(len(tokens))])
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)


def _pieces() -> Iterator[str]:
    """Distinct pieces, each after all its prefixes, so that merges can build it."""
    seen = set()
    for word in itertools.chain(map(chr, range(33, 127)), "▁", _words()):
        for end in range(1, len(word) + 1):
            if word[:end] not in seen:
                seen.add(word[:end])
                yield word[:end]


def _words() -> Iterator[str]:
    yield from (f"▁{word}" for word in WORDS.split())
    syllables = [a + b for a in "bcdfghjklmnprstvwz" for b in "aeiou"]
    for count in (2, 3):
        for parts in itertools.product(syllables, repeat=count):
            yield "▁" + "".join(parts)


def _tensors() -> Iterator[tuple[str, tuple[int, int], gguf.GGMLQuantizationType]]:
    kv_width = WIDTH // HEADS * KV_HEADS
    yield "token_embd.weight", (VOCABULARY, WIDTH), _Q4_K
    for block in range(BLOCKS):
        # Q4_K_M gives these two matrices more bits in the outer eighths, and in every third block.
        eighth = BLOCKS // 8
        outer = block < eighth or block >= 7 * BLOCKS // 8 or (block - eighth) % 3 == 2
        sensitive = _Q6_K if outer else _Q4_K
        for name, rows, columns, kind in (
            ("attn_norm", 1, WIDTH, _F32),
            ("attn_q", WIDTH, WIDTH, _Q4_K),
            ("attn_k", kv_width, WIDTH, _Q4_K),
            ("attn_v", kv_width, WIDTH, sensitive),
            ("attn_output", WIDTH, WIDTH, _Q4_K),
            ("ffn_norm", 1, WIDTH, _F32),
            ("ffn_gate", FEED_FORWARD, WIDTH, _Q4_K),
            ("ffn_up", FEED_FORWARD, WIDTH, _Q4_K),
            ("ffn_down", WIDTH, FEED_FORWARD, sensitive),
        ):
            yield f"blk.{block}.{name}.weight", (rows, columns), kind
    yield "output_norm.weight", (1, WIDTH), _F32
    yield "output.weight", (VOCABULARY, WIDTH), _Q6_K


def _row_bytes(columns: int, kind: gguf.GGMLQuantizationType) -> int:
    block, size = gguf.GGML_QUANT_SIZES[kind]
    return columns // block * size


def _weights(
    random: np.random.Generator, rows: int, columns: int, kind: gguf.GGMLQuantizationType
) -> npt.NDArray[np.generic]:
    """Random blocks, scaled so that a row's weights have the variance 1 / columns."""
    if kind == _F32:
        return np.ones(columns, np.float32)
    _, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (rows * columns // 256, size), np.uint8)
    if kind == _Q4_K:
        # d * scale * q - dmin * min, with 6 bits of scale and min, 4 of q; the mean is 0.
        d = np.float16(columns**-0.5 / 270)
        blocks[:, :4] = np.array([d, 7.5 * d], np.float16).view(np.uint8)
    else:
        # d * scale * (q - 32), with 8 bits of scale and 6 of q; d stands last.
        d = np.float16(columns**-0.5 / 1360)
        blocks[:, -2:] = np.array([d], np.float16).view(np.uint8)
    return blocks.reshape(rows, -1)


if __name__ == "__main__":
    main()
