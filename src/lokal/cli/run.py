"""`llm run`: one prompt, one answer."""

from __future__ import annotations

from typing import Annotated

import typer

from lokal.cli import machine_options as machine
from lokal.cli import options as opt
from lokal.cli.terminal import Converse, someone_there


def run(
    context: typer.Context,
    model: opt.ModelName,
    prompt: Annotated[
        str | None,
        typer.Argument(
            help="The prompt; - reads standard input, {} is where it goes.",
            show_default=False,
        ),
    ] = None,
    messages: opt.Messages = None,
    system: opt.System = None,
    system_file: opt.SystemFile = None,
    file: opt.Files = None,
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
    completions: opt.Completions = 1,
    schema: opt.Schema = None,
    form: opt.Format = None,
    regex: opt.Regex = None,
    grammar: opt.Grammar = None,
    raw: opt.Raw = False,
    chat_template: opt.ChatTemplate = None,
    template_kwargs: opt.TemplateKwargs = None,
    think: opt.Think = None,
    reasoning_budget: opt.ReasoningBudget = None,
    truncate: opt.Truncate = False,
    fail_on_length: opt.FailOnLength = False,
    stdin: opt.Stdin = True,
    output: opt.Output = None,
    threads: machine.Threads = None,
    gpu_layers: machine.GpuLayers = "auto",
    require_gpu: machine.RequireGpu = False,
    split: machine.Split = "layer",
    main_gpu: machine.MainGpu = None,
    kv_type: machine.KvType = "f16",
    flash_attn: machine.FlashAttn = "auto",
    load_mode: machine.LoadMode = "auto",
    lora: machine.Lora = None,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    dry_run: opt.DryRun = False,
    offline: opt.Offline = False,
    debug: opt.Debug = False,  # noqa: ARG001 - looked up by main
) -> int:
    """Answer one prompt, or converse where there is none and a terminal; the answer streams."""
    from lokal.cli import asking
    from lokal.cli.answer import RunOptions, execute
    from lokal.cli.grammar_options import asked_grammar
    from lokal.cli.prompt_input import PromptSource

    if prompt is None and someone_there() and opt.given(context) <= _of_chat():
        raise Converse
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
        RunOptions(
            model=model,
            prompt=PromptSource(prompt, file or [], stdin and messages != "-"),
            talk=asking.talk(messages),
            system=asking.system_text(context, system, system_file),
            template=asking.chat_template(context, chat_template, raw=raw),
            sampling=sampling,
            logit_bias=asking.logit_biases(logit_bias),
            seed=seed,
            completions=completions,
            grammar=asked_grammar(schema, form, regex, grammar),
            load=asking.load_options(
                lora,
                ctx=ctx,
                threads=threads,
                gpu_layers=gpu_layers,
                parallel=asking.at_once(completions),
                kv_type=kv_type,
                flash=flash_attn,
                split=split,
                main_gpu=main_gpu,
                load_mode=load_mode,
                require_gpu=require_gpu,
            ),
            form=asking.prompt_options(context, think, template_kwargs, raw=raw),
            truncate=truncate,
            fail_on_length=fail_on_length,
            output=output,
            json=json,
            quiet=quiet,
            verbose=verbose,
            dry_run=dry_run,
            offline=offline,
        )
    )


def _of_chat() -> set[str]:
    """The parameters that `llm chat` has too."""
    from inspect import signature

    from lokal.cli.chat import chat

    return {*signature(chat).parameters}
