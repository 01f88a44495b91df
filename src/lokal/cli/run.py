"""`llm run`: one prompt, one answer."""

from __future__ import annotations

from typing import Annotated

import typer

from lokal.cli import options as opt


def run(
    model: opt.ModelName,
    prompt: Annotated[
        str | None,
        typer.Argument(
            help="The prompt; - reads standard input, {} is where it goes.",
            show_default=False,
        ),
    ] = None,
    system: opt.System = None,
    file: opt.Files = None,
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
    schema: opt.Schema = None,
    form: opt.Format = None,
    regex: opt.Regex = None,
    grammar: opt.Grammar = None,
    raw: opt.Raw = False,
    truncate: opt.Truncate = False,
    fail_on_length: opt.FailOnLength = False,
    stdin: opt.Stdin = True,
    output: opt.Output = None,
    threads: opt.Threads = None,
    gpu_layers: opt.GpuLayers = "auto",
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = 0,
    dry_run: opt.DryRun = False,
    offline: opt.Offline = False,
    debug: opt.Debug = False,
) -> int:
    """Answer one prompt, or converse where there is none and a terminal; the answer streams."""
    from lokal.cli.answer import RunOptions, execute
    from lokal.cli.grammar_options import asked_grammar
    from lokal.cli.prompt_input import PromptSource
    from lokal.cli.terminal import someone_there
    from lokal.engine.prompt import PromptOptions
    from lokal.loading import LoadOptions

    for_one_answer = (output, json, dry_run, raw, schema, form, regex, grammar)
    if prompt is None and not file and stdin and not any(for_one_answer) and someone_there():
        from lokal.cli.chat import chat

        return chat(
            model,
            system=system,
            max_tokens=max_tokens,
            ctx=ctx,
            temp=temp,
            top_p=top_p,
            top_k=top_k,
            min_p=min_p,
            repeat_penalty=repeat_penalty,
            seed=seed,
            stop=stop,
            ignore_eos=ignore_eos,
            threads=threads,
            gpu_layers=gpu_layers,
            quiet=quiet,
            verbose=verbose,
            offline=offline,
            debug=debug,
        )
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
        RunOptions(
            model=model,
            prompt=PromptSource(prompt, file or [], stdin),
            system=system,
            sampling=sampling,
            seed=seed,
            grammar=asked_grammar(schema, form, regex, grammar),
            load=LoadOptions(ctx, threads, gpu_layers),
            form=PromptOptions(raw),
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
