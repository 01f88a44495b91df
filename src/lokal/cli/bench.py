"""`llm bench`: how fast a model runs on this machine."""

from __future__ import annotations

from typing import Annotated

from lokal.cli import machine_options as machine
from lokal.cli import options as opt
from lokal.cli.options import flag, option

PromptTokens = Annotated[
    int, flag("-p", "--prompt-tokens", min=0, max=10**6, help="Tokens of each prompt [512].")
]
GenTokens = Annotated[
    int, flag("-n", "--gen-tokens", min=0, max=10**6, help="Tokens to generate in each [128].")
]
Counts = Annotated[
    str, flag("-j", "--parallel", metavar="N,N,...", help="Sequences side by side [1,2,4,8,16].")
]
Repetitions = Annotated[
    int, flag("-r", "--repetitions", min=1, max=1000, help="Measure so many times [3].")
]
Ctx = Annotated[
    int | None, option("-c", "--ctx", help="Context size in tokens [what the tests need].")
]


def bench(
    model: opt.ModelName,
    prompt_tokens: PromptTokens = 512,
    gen_tokens: GenTokens = 128,
    counts: Counts = "1,2,4,8,16",
    repetitions: Repetitions = 3,
    ctx: Ctx = None,
    threads: machine.Threads = None,
    gpu_layers: machine.GpuLayers = "auto",
    require_gpu: machine.RequireGpu = False,
    split: machine.Split = "layer",
    main_gpu: machine.MainGpu = None,
    kv_type: machine.KvType = "f16",
    flash_attn: machine.FlashAttn = "auto",
    load_mode: machine.LoadMode = "auto",
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    offline: opt.Offline = False,
    debug: opt.Debug = False,  # noqa: ARG001 - looked up by main
) -> int:
    """Measure how fast a model reads prompts and generates, by sequences side by side."""
    from lokal.bench import Trial, parse_counts
    from lokal.cli import asking
    from lokal.cli.measuring import BenchOptions, execute

    return execute(
        BenchOptions(
            model=model,
            trial=Trial(prompt_tokens, gen_tokens, repetitions),
            counts=parse_counts(counts),
            load=asking.load_options(
                None,
                ctx=ctx,
                threads=threads,
                gpu_layers=gpu_layers,
                require_gpu=require_gpu,
                split=split,
                main_gpu=main_gpu,
                kv_type=kv_type,
                flash=flash_attn,
                load_mode=load_mode,
            ),
            json=json,
            quiet=quiet,
            verbose=verbose,
            offline=offline,
        )
    )
