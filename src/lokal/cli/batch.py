"""`llm batch`: many prompts, a line for each."""

from __future__ import annotations

import typer

from lokal.cli import machine_options as machine
from lokal.cli import options as opt


def batch(
    context: typer.Context,
    model: opt.ModelName,
    input_: opt.InputFile = None,
    template: opt.Template = None,
    system: opt.System = None,
    system_file: opt.SystemFile = None,
    input_format: opt.InputFormat = "auto",
    output: opt.BatchOutput = None,
    restart: opt.Restart = False,
    retry_errors: opt.RetryErrors = False,
    unordered: opt.Unordered = False,
    text: opt.Text = False,
    limit: opt.Limit = None,
    sample: opt.Sample = None,
    max_errors: opt.MaxErrors = None,
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
    logprobs: opt.Logprobs = None,
    schema: opt.Schema = None,
    form: opt.Format = None,
    regex: opt.Regex = None,
    grammar: opt.Grammar = None,
    raw: opt.Raw = False,
    chat_template: opt.BatchChatTemplate = None,
    template_kwargs: opt.TemplateKwargs = None,
    think: opt.Think = None,
    reasoning_budget: opt.ReasoningBudget = None,
    parallel: machine.Parallel = "auto",
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
    debug: opt.Debug = False,  # noqa: ARG001 - looked up by main
) -> int:
    """Answer every row of the input; results are JSON lines on standard output or in a file."""
    from lokal.batch.job import JobOptions
    from lokal.batch.output import OutputOptions
    from lokal.batch.rows import ReadOptions
    from lokal.cli import asking
    from lokal.cli.grammar_options import asked_grammar
    from lokal.cli.job import BatchOptions, execute

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
        logprobs=logprobs,
    )
    return execute(
        BatchOptions(
            model=model,
            input=input_,
            reading=ReadOptions(
                input_format, template, asking.system_text(context, system, system_file)
            ),
            output=output,
            writing=OutputOptions(unordered, not text, restart, retry_errors),
            job=JobOptions(
                sampling=sampling,
                seed=seed,
                grammar=asked_grammar(schema, form, regex, grammar),
                form=asking.prompt_options(context, think, template_kwargs, raw=raw),
                text=text,
                max_errors=max_errors,
            ),
            logit_bias=asking.logit_biases(logit_bias),
            template=asking.chat_template(context, chat_template, raw=raw),
            load=asking.load_options(
                lora,
                ctx=ctx,
                threads=threads,
                gpu_layers=gpu_layers,
                parallel=parallel,
                kv_type=kv_type,
                flash=flash_attn,
                split=split,
                main_gpu=main_gpu,
                load_mode=load_mode,
                require_gpu=require_gpu,
            ),
            limit=limit,
            sample=sample,
            quiet=quiet,
            verbose=verbose,
            offline=offline,
        )
    )
