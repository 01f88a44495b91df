"""Run open-weight language models on your own machine.

import lokal

with lokal.load("tiny") as model:
    for text in model.stream("Tell me a story about a fox"):
        print(text, end="", flush=True)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from typing import Any

    from lokal.completion import Completion
    from lokal.engine.lora import Lora
    from lokal.model import Model

__version__ = "0.1.0"
__all__ = ["Completion", "Model", "load"]


def __getattr__(name: str) -> Any:
    """`lokal.Model` and `lokal.Completion`, imported when somebody asks for them."""
    if name in __all__:
        import importlib

        return getattr(importlib.import_module(f"lokal.{name.lower()}"), name)
    raise AttributeError(f"module 'lokal' has no attribute {name!r}")


def load(
    name: str | os.PathLike[str],
    *,
    ctx: int | None = None,
    threads: int | None = None,
    gpu_layers: str | int = "auto",
    parallel: str | int = 1,
    kv_type: str = "f16",
    require_gpu: bool = False,
    lora: str | os.PathLike[str] | Lora | Iterable[str | os.PathLike[str] | Lora] = (),
    offline: bool = False,
) -> Model:
    """Load a model, fetching its weights first if they are not on this machine.

    Args:
        name: as for `llm run`: a name of the registry, OWNER/REPO[:QUANT], or a .gguf file.
        ctx: context size in tokens; None takes the model's own, as memory allows.
        threads: CPU threads; None takes one per physical core.
        gpu_layers: "auto" (as many as fit), "all", or how many layers to put on GPUs.
        parallel: how many prompts `Model.batch` answers side by side; "auto" suits the machine.
        kv_type: type of the numbers in the KV cache, such as "q8_0"; "q8_0,f16": keys, values.
        require_gpu: raise `GpuError` rather than compute on the CPU alone.
        lora: adapter files that change the model, each a path, "FILE:SCALE", or a
            `lokal.engine.lora.Lora`; one or a list of them.
        offline: never use the network.

    Raises:
        lokal.errors.LokalError: what went wrong, in one line, with a hint.
    """
    # Imported here, so that `import lokal` costs nothing.
    import os

    from lokal import settings
    from lokal.engine.lora import loras
    from lokal.loading import LoadOptions
    from lokal.model import Model
    from lokal.weights import find, obtain

    options = LoadOptions(
        ctx,
        threads,
        gpu_layers,
        parallel,
        lora=loras(lora),
        kv_type=kv_type,
        require_gpu=require_gpu,
    )
    options.check()  # before anything is fetched
    surroundings = settings.load(offline=offline)
    name = os.fspath(name)
    source = find(name, surroundings)
    weights = obtain(source, surroundings, ctx=ctx, kv_types=options.kv_types())
    return Model(weights, options)
