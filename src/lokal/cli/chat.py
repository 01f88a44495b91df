"""`llm chat`: a conversation at the terminal."""

from __future__ import annotations

import typer

from lokal.cli import machine_options as machine
from lokal.cli import options as opt


def chat(
    context: typer.Context,
    model: opt.ModelName,
    system: opt.System = None,
    system_file: opt.SystemFile = None,
    resume: opt.Continue = False,
    max_tokens: opt.MaxTokens = None,
    ctx: machine.Ctx = None,
    temp: opt.Temp = None,
    top_p: opt.TopP = None,
    top_k: opt.TopK = None,
    min_p: opt.MinP = None,
    repeat_penalty: opt.RepeatPenalty = None,
    seed: opt.Seed = None,
    stop: opt.Stop = None,
    ignore_eos: opt.IgnoreEos = False,
    logit_bias: opt.LogitBias = None,
    chat_template: opt.ChatTemplate = None,
    template_kwargs: opt.TemplateKwargs = None,
    think: opt.Think = None,
    reasoning_budget: opt.ReasoningBudget = None,
    shift: opt.Shift = True,
    history: opt.History = True,
    markdown: opt.Markdown = False,
    threads: machine.Threads = None,
    gpu_layers: machine.GpuLayers = "auto",
    require_gpu: machine.RequireGpu = False,
    split: machine.Split = "layer",
    main_gpu: machine.MainGpu = None,
    kv_type: machine.KvType = "f16",
    flash_attn: machine.FlashAttn = "auto",
    load_mode: machine.LoadMode = "auto",
    lora: machine.Lora = None,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    offline: opt.Offline = False,
    debug: opt.Debug = False,
) -> int:
    """Converse with a model at the terminal; /help lists commands."""
    from lokal.cli import asking
    from lokal.cli.converse import execute
    from lokal.cli.session import ChatOptions

    sampling = opt.chosen(
        temperature=temp,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        repeat_penalty=repeat_penalty,
        max_tokens=max_tokens,
        stop=tuple(stop) if stop else None,
        ignore_eos=ignore_eos or None,
        reasoning_budget=reasoning_budget,
    )
    return execute(
        ChatOptions(
            model=model,
            system=asking.system_text(context, system, system_file),
            template=asking.chat_template(context, chat_template),
            sampling=sampling,
            logit_bias=asking.logit_biases(logit_bias),
            seed=seed,
            load=asking.load_options(
                lora,
                ctx=ctx,
                threads=threads,
                gpu_layers=gpu_layers,
                parallel=1,
                kv_type=kv_type,
                flash=flash_attn,
                split=split,
                main_gpu=main_gpu,
                load_mode=load_mode,
                require_gpu=require_gpu,
            ),
            form=asking.prompt_options(context, think, template_kwargs),
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
