"""The options that say how a model is put into memory and what computes it."""

from __future__ import annotations

from typing import Annotated

from lokal.cli.options import flag, option, switch

Ctx = Annotated[
    int | None,
    option("-c", "--ctx", help="Context size in tokens [the model's own, as memory allows]."),
]
Parallel = Annotated[
    str,
    option("-j", "--parallel", metavar="auto|N", help="Rows under way at the same time [auto]."),
]
Threads = Annotated[int | None, option("-t", "--threads", help="CPU threads [one per core].")]
GpuLayers = Annotated[
    str, option("--gpu-layers", metavar="auto|all|N", help="Layers on the GPU [as many as fit].")
]
RequireGpu = Annotated[bool, switch("--require-gpu", help="Exit 13 rather than do without a GPU.")]
Split = Annotated[
    str,
    option(
        "--split",
        metavar="none|layer|row|N,N...",
        help="How several GPUs share a model [layer, by free memory].",
    ),
]
MainGpu = Annotated[
    int | None, option("--main-gpu", metavar="N", help="The GPU to use with --split none [0].")
]
KvType = Annotated[
    str,
    option("--kv-type", metavar="TYPE[,TYPE]", help="Numbers of the KV cache, such as q8_0 [f16]."),
]
FlashAttn = Annotated[
    str, option("--flash-attn", metavar="auto|on|off", help="Flash attention [auto].")
]
LoadMode = Annotated[
    str,
    option(
        "--load-mode",
        metavar="MODE",
        help="auto, none, mmap, mlock, mmap+mlock or dio: how weights are read [auto].",
    ),
]
Lora = Annotated[
    list[str] | None,
    flag("--lora", metavar="FILE[:SCALE]", help="Lay an adapter over the weights; repeatable."),
]
