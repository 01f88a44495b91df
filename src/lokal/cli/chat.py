"""`llm chat`: a conversation at the terminal."""

from __future__ import annotations

from lokal.cli import options as opt


def chat(
    model: opt.ModelName,
    system: opt.System = None,
    resume: opt.Continue = False,
    max_tokens: opt.MaxTokens = None,
    ctx: opt.Ctx = None,
    temp: opt.Temp = None,
    top_p: opt.TopP = None,
    top_k: opt.TopK = None,
    min_p: opt.MinP = None,
    repeat_penalty: opt.RepeatPenalty = None,
    seed: opt.Seed = None,
    stop: opt.Stop = None,
    ignore_eos: opt.IgnoreEos = False,
    shift: opt.Shift = True,
    history: opt.History = True,
    markdown: opt.Markdown = False,
    threads: opt.Threads = None,
    gpu_layers: opt.GpuLayers = "auto",
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    offline: opt.Offline = False,
    debug: opt.Debug = False,
) -> int:
    """Converse with a model at the terminal; /help lists commands."""
    from lokal.cli.converse import execute
    from lokal.cli.session import ChatOptions
    from lokal.loading import LoadOptions

    sampling = opt.chosen(
        temperature=temp,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        repeat_penalty=repeat_penalty,
        max_tokens=max_tokens,
        stop=tuple(stop) if stop else None,
        ignore_eos=ignore_eos or None,
    )
    return execute(
        ChatOptions(
            model=model,
            system=system,
            sampling=sampling,
            seed=seed,
            load=LoadOptions(ctx, threads, gpu_layers),
            shift=shift,
            history=history,
            resume=resume,
            markdown=markdown,
            quiet=quiet,
            verbose=verbose,
            offline=offline,
            debug=debug,
        )
    )
