"""What llama.cpp says that it took."""

from __future__ import annotations

from pathlib import Path

from lokal.engine.accounting import Buffer, buffers
from lokal.engine.backend import LlamaContext
from lokal.engine.interrupt import Interrupt
from lokal.engine.llama import LlamaModel
from lokal.engine.plan import Shape
from lokal.gguf import check


def test_lines_of_the_log_become_bytes() -> None:
    """Of every kind of buffer; all else is passed over."""
    found = buffers(
        [
            "load_tensors: offloaded 7/7 layers to GPU",
            "load_tensors:   CPU_Mapped model buffer size =     1.50 MiB",
            "load_tensors: RPC0[127.0.0.1:50061] model buffer size =     0.25 MiB",
            "llama_kv_cache:        CPU KV buffer size =     1.00 MiB",
            "llama_kv_cache: size =    1.00 MiB (  1024 cells,   6 layers,  1/1 seqs)",
            "llama_memory_recurrent:      CUDA0 RS buffer size =     2.00 MiB",
            "llama_context:        CPU  output buffer size =     0.25 MiB",
            "sched_reserve:      CUDA0 compute buffer size =     4.75 MiB",
            "sched_reserve: graph nodes  = 191",
            "print_info: general.name = x model buffer size = y MiB",
            "print_info: general.name = x model buffer size = inf MiB",
        ]
    )
    assert [(b.device, b.kind, b.size / 2**20) for b in found] == [
        ("CPU_Mapped", "weights", 1.5),
        ("RPC0[127.0.0.1:50061]", "weights", 0.25),
        ("CPU", "kv", 1.0),
        ("CUDA0", "kv", 2.0),
        ("CPU", "results", 0.25),
        ("CUDA0", "compute", 4.75),
    ]


def test_a_model_s_own_account(llama: Path) -> None:
    """The words of the log are llama.cpp's to change; these are of the version that is here."""
    model = LlamaModel(llama, Interrupt(), repack=False)
    context = LlamaContext(model, Interrupt(), Shape(1, 1, 512, 512, 512), n_threads=1)
    taken: dict[str, int] = {}
    for buffer in model.buffers + context.buffers:
        taken[buffer.kind] = taken.get(buffer.kind, 0) + buffer.size
    context.close()
    model.close()
    assert set(taken) == {"weights", "kv", "compute", "results"}
    assert abs(taken["weights"] - check(llama).weights_bytes) < 20_000
    assert isinstance(model.buffers[0], Buffer)
