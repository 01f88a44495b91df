"""`llm bench`: how fast a model runs on this machine."""

from __future__ import annotations

from lokal.cli import options as opt


def bench(
    model: opt.ModelName,
    prompt_tokens: opt.PromptTokens = 512,
    gen_tokens: opt.GenTokens = 128,
    counts: opt.Counts = "1,2,4,8,16",
    repetitions: opt.Repetitions = 3,
    ctx: opt.BenchCtx = None,
    threads: opt.Threads = None,
    gpu_layers: opt.GpuLayers = "auto",
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
            load=asking.load_options(ctx, threads, gpu_layers, 1, None),
            json=json,
            quiet=quiet,
            verbose=verbose,
            offline=offline,
        )
    )
