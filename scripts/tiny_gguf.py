"""Writes the trained parameters and the tokenizer as one GGUF file that llama.cpp loads."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from sentencepiece import SentencePieceProcessor

# Mistral's newest style: no spaces around the markers, so an answer starts without one.
# A system message is put in front of the next user message, as Mistral itself does.
CHAT_TEMPLATE = """{{- bos_token }}
{%- set state = namespace(system='') %}
{%- for message in messages %}
{%- if message['role'] == 'system' %}
{%- set state.system = message['content'] | trim + '\\n\\n' %}
{%- elif message['role'] == 'user' %}
{{- '[INST]' + state.system + message['content'] | trim + '[/INST]' }}
{%- set state.system = '' %}
{%- elif message['role'] == 'assistant' %}
{{- message['content'] | trim + eos_token }}
{%- else %}
{{- raise_exception('roles are system, user and assistant, not ' + message['role']) }}
{%- endif %}
{%- endfor %}"""

# Parameter name in a block -> (tensor name in the file, is a matrix).
BLOCK_TENSORS = {
    "attn_norm": ("attn_norm", False),
    "q": ("attn_q", True),
    "k": ("attn_k", True),
    "v": ("attn_v", True),
    "o": ("attn_output", True),
    "ffn_norm": ("ffn_norm", False),
    "gate": ("ffn_gate", True),
    "up": ("ffn_up", True),
    "down": ("ffn_down", True),
}
CONTEXT = 1024
TEMPERATURE, TOP_P = 0.7, 0.9


def _tokens(writer: gguf.GGUFWriter, tokenizer: SentencePieceProcessor) -> None:
    """Store the vocabulary; scores are minus the merge rank, which llama.cpp merges by."""
    pieces, scores, types = [], [], []
    for index in range(tokenizer.get_piece_size()):
        pieces.append(tokenizer.id_to_piece(index).encode())
        scores.append(tokenizer.get_score(index))
        if tokenizer.is_unknown(index):
            kind = gguf.TokenType.UNKNOWN
        elif tokenizer.is_control(index):
            kind = gguf.TokenType.CONTROL
        elif tokenizer.is_byte(index):
            kind = gguf.TokenType.BYTE
        else:
            kind = gguf.TokenType.NORMAL
        types.append(kind)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(pieces)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_unk_token_id(tokenizer.unk_id())
    writer.add_bos_token_id(tokenizer.bos_id())
    writer.add_eos_token_id(tokenizer.eos_id())
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _metadata(writer: gguf.GGUFWriter, shape: Any, parameters: int) -> None:
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name("lokal tiny")
    writer.add_author("the lokal project")
    writer.add_license("mit")
    writer.add_description(
        "A very small language model for first runs, demonstrations and tests: "
        "short stories, simple questions, lists, labels and JSON extraction."
    )
    writer.add_size_label(f"{parameters / 1e6:.1f}M")
    writer.add_tags(["text-generation"])
    writer.add_languages(["en"])
    writer.add_key_value(gguf.Keys.General.SAMPLING_TEMP, TEMPERATURE, gguf.GGUFValueType.FLOAT32)
    writer.add_key_value(gguf.Keys.General.SAMPLING_TOP_P, TOP_P, gguf.GGUFValueType.FLOAT32)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(shape.vocab)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(shape.dim)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.eps)


def write(path: Path, params: dict[str, Any], shape: Any, tokenizer: SentencePieceProcessor) -> int:
    """Write the file and return its size in bytes. Matrices become Q8_0, norms stay F32.

    Training keeps matrices as (in, out); GGUF wants rows of the output. Queries and keys need no
    permutation, because training rotates neighbouring pairs as llama.cpp does for this
    architecture. There is no output matrix: llama.cpp then uses the token embedding.
    """
    writer = gguf.GGUFWriter(path, "llama")

    def matrix(name: str, values: np.ndarray) -> None:
        kind = gguf.GGMLQuantizationType.Q8_0
        packed = gguf.quants.quantize(np.ascontiguousarray(values, np.float32), kind)
        writer.add_tensor(f"{name}.weight", packed, raw_dtype=kind)

    def vector(name: str, values: np.ndarray) -> None:
        writer.add_tensor(f"{name}.weight", np.asarray(values, np.float32))

    count = params["embed"].size + params["norm"].size
    count += sum(value.size for block in params["blocks"] for value in block.values())
    _metadata(writer, shape, count)
    _tokens(writer, tokenizer)
    matrix("token_embd", np.asarray(params["embed"]))
    vector("output_norm", params["norm"])
    for index, block in enumerate(params["blocks"]):
        for key, (tensor, is_matrix) in BLOCK_TENSORS.items():
            name, values = f"blk.{index}.{tensor}", np.asarray(block[key])
            matrix(name, values.T) if is_matrix else vector(name, values)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.stat().st_size
