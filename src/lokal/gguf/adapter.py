"""LoRA adapters: whether a file is one, and fits a model.

llama.cpp adds the product of two small matrices to the weights that they are named after. It checks
two of the four sizes of each matrix, passes over what it does not use, and aborts later, in the
middle of an answer, on what does not fit (src/llama-adapter.cpp and src/llama-graph.cpp).

What it uses are matrices that it multiplies with `build_lora_mm` and `build_lora_mm_id`. Some
architectures multiply a few of these in another way (in src/models: kimi-linear, bailingmoe3 and
granite-switch the projections of attention, some of DeepSeek's the output): there a change of them
is left out, and that is not seen here.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from lokal.errors import DamagedFileError, LoadError
from lokal.gguf.check import parsed, with_file
from lokal.gguf.header import Header, TensorInfo

_TYPES = {"F32", "F16", "BF16", "Q8_0"}  # what llama.cpp's convert_lora_to_gguf.py writes
_HINT = "an adapter is one .gguf file; llama.cpp's convert_lora_to_gguf.py makes it out of PEFT's"
# Others are vectors, looked up, convolved, or multiplied in another way.
_USED = re.compile(
    r"(output|blk\.\d+\.("
    r"attn_(q|k|v|qkv|output|gate)"
    r"|ffn_(gate|up|down)(_exps|_shexp|_chexps)?|ffn_gate_up_exps|ffn_gate_inp"
    r"|ssm_(in|x|dt|out|alpha|beta|ba)|shortconv\.(in|out)_proj"
    r"|time_mix_(receptance|key|value|gate|output)|channel_mix_(receptance|key|value)"
    r"|inp_gate|proj|laurel_[lr]"
    r"))\.weight"
)
_MERGE = "use a model into which the adapter is merged"

Pair = dict[str, TensorInfo]


def check_adapter(path: Path, base: Header) -> Header:
    """Read an adapter's header, and refuse what llama.cpp would choke on, or never uses.

    Raises:
        ModelNameError: no such file.
        LoadError: unreadable, no LoRA adapter, or one for another model than `base`.
        DamagedFileError: not a GGUF file, truncated, or content that is broken or hostile.
    """
    try:
        header = with_file(path, parsed)
    except DamagedFileError as error:
        raise DamagedFileError(error.message, hint=_HINT) from None
    _refuse_other_kinds(path, header)
    if header.architecture != base.architecture:
        why = f"one of type {header.architecture}, not {base.architecture}"
        raise _other_base(path, header, why)
    weights = {tensor.name: tensor for tensor in base.tensors}
    for name, pair in _pairs(path, header).items():
        _check_pair(path, header, name, pair, weights.get(name))
    return header


def _refuse_other_kinds(path: Path, header: Header) -> None:
    if header.type != "adapter":
        kind = "model" if header.type == "model" else f"file of type {header.type[:40]!r}"
        raise LoadError(
            f"{path} is a {kind}, and no adapter", hint="an adapter goes with a model of its own"
        )
    kind = header.text("adapter.type") or "unnamed"
    if kind != "lora":
        raise LoadError(
            f"{path} is an adapter of type {kind[:40]!r}", hint="only LoRA adapters are supported"
        )
    if any(key.startswith("adapter.alora.") for key in header.metadata):
        raise LoadError(
            f"{path} is an activated LoRA, which works from certain tokens on",
            hint="only plain LoRA adapters are supported",
        )
    if header.split_count > 1:
        raise LoadError(f"{path} is one shard of an adapter", hint="join the shards into one file")
    alpha = header.metadata.get("adapter.lora.alpha", 0.0)
    if not isinstance(alpha, float) or not math.isfinite(alpha):
        raise DamagedFileError(f"{path}: an alpha of {alpha!r:.40}", hint=_HINT)


def _pairs(path: Path, header: Header) -> dict[str, Pair]:
    """The two matrices of each tensor that is changed, under `a` and `b`."""
    pairs: dict[str, Pair] = {}
    for tensor in header.tensors:
        name, dot, side = tensor.name.rpartition(".lora_")
        if not dot or side not in ("a", "b"):
            raise LoadError(
                f"{path} changes {tensor.name!r} in another way than LoRA's, which llama.cpp"
                " leaves out",
                hint=_MERGE,
            )
        pairs.setdefault(name, {})[side] = tensor
    if not pairs:
        raise LoadError(f"{path} is an adapter without tensors", hint=_HINT)
    return pairs


def _check_pair(path: Path, header: Header, name: str, pair: Pair, base: TensorInfo | None) -> None:
    if len(pair) < 2:
        raise DamagedFileError(f"{path} has only half of a pair for {name!r}", hint=_HINT)
    a, b = pair["a"], pair["b"]
    if odd := next((tensor for tensor in (a, b) if tensor.type not in _TYPES), None):
        raise LoadError(
            f"{path} has {odd.name!r} as {odd.type}", hint=f"convert it to {', '.join(_TYPES)}"
        )
    if base is None:
        raise _other_base(path, header, f"it changes {name!r}, which this one lacks")
    if name == "token_embd.weight":
        # Where the output has the same weights, llama.cpp aborts on it.
        raise LoadError(f"{path} changes the embedding of tokens, too", hint=_MERGE)
    shape, (columns, rank, *a_rest), (b_rank, rows, *b_rest) = _sizes(base), _sizes(a), _sizes(b)
    if [columns, rows, *a_rest] != shape or a_rest != b_rest or rank != b_rank:
        ours = " x ".join(map(str, base.shape))
        theirs = f"{' x '.join(map(str, a.shape))} and {' x '.join(map(str, b.shape))}"
        raise _other_base(path, header, f"{theirs} do not make {name!r} of {ours}")
    # llama.cpp would take the others as well, and leave them out of what it computes.
    if not _USED.fullmatch(name) or base.type == "NVFP4":
        raise LoadError(f"{path} changes {name!r}, which llama.cpp cannot", hint=_MERGE)


def _sizes(tensor: TensorInfo) -> list[int]:
    return [*tensor.shape, 1, 1, 1, 1][:4]


def _other_base(path: Path, header: Header, why: str) -> LoadError:
    made_for = header.text("general.base_model.0.name")
    hint = f"it was made for {made_for[:60]!r}" if made_for else "look for one made for this model"
    return LoadError(f"{path} is an adapter for another base model: {why}", hint=hint)
