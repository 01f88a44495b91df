"""The options that verbs share, declared once.

Nearly every option can also be set by an environment variable, LOKAL_ and its name (LOKAL_TEMP),
and by its name in config.toml; a flag wins over both.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

_RANKS = ("DEFAULT", "DEFAULT_MAP", "ENVIRONMENT", "COMMANDLINE")  # weakest first
ON_COMMAND_LINE = len(_RANKS) - 1


def complete_model(incomplete: str) -> list[str]:
    """Names of the registry that begin so."""
    from lokal import settings
    from lokal.catalog.registry import Registry
    from lokal.errors import LokalError

    try:
        names = Registry.load(settings.load()).names()
    except LokalError:  # a broken file of the user's; no place to say so while they type
        return []
    return [name for name in names if name.startswith(incomplete)]


def _complete_cached(incomplete: str) -> list[str]:
    from lokal import settings
    from lokal.catalog.registry import Registry
    from lokal.errors import LokalError
    from lokal.inventory import downloaded

    try:
        names = [item.name for item in downloaded([*Registry.load(settings.load()).entries()])]
    except LokalError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def _option(*flags: str, help: str, **more: Any) -> Any:  # noqa: A002 - Typer's own name for it
    name = flags[-1].removeprefix("--").partition("/")[0]
    return typer.Option(
        *flags,
        help=help,
        envvar="LOKAL_" + name.replace("-", "_").upper(),
        show_envvar=False,
        show_default=False,
        **more,
    )


def _switch(*flags: str, help: str) -> Any:  # noqa: A002
    """An option that is on or off, and can be switched off again on the command line."""
    name = flags[-1].removeprefix("--")
    return _option(*flags[:-1], f"--{name}/--no-{name}", help=help)


def _flag(*flags: str, help: str, **more: Any) -> Any:  # noqa: A002
    """An option without a variable: it belongs to a single call, or is repeatable."""
    return typer.Option(*flags, help=help, show_default=False, **more)


def given(context: typer.Context) -> set[str]:
    """The parameters that stand on the command line."""
    return {name for name in context.params if rank(context, name) == ON_COMMAND_LINE}


def rank(context: typer.Context, name: str) -> int:
    """How much the origin of a parameter's value counts; 0 if nobody set it."""
    source = context.get_parameter_source(name)
    return _RANKS.index(source.name) if source and source.name in _RANKS else 0


def chosen(**values: Any) -> dict[str, Any]:
    """The options that the user has set."""
    return {name: value for name, value in values.items() if value is not None}


ModelName = Annotated[
    str,
    typer.Argument(
        help="A name (`llm models` lists them), OWNER/REPO[:QUANT], or a .gguf file.",
        autocompletion=complete_model,
        show_default=False,
    ),
]

CachedModels = Annotated[
    list[str],
    typer.Argument(
        help="Names as `llm ls` shows them; OWNER/REPO is all of a repository.",
        autocompletion=_complete_cached,
        show_default=False,
    ),
]
SomeCachedModels = Annotated[
    list[str] | None,
    typer.Argument(
        help="Names as `llm ls` shows them [all].",
        autocompletion=_complete_cached,
        show_default=False,
    ),
]

ModelNames = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="Names (`llm models` lists them), OWNER/REPO[:QUANT], or .gguf files.",
        autocompletion=complete_model,
        show_default=False,
    ),
]

Ctx = Annotated[
    int | None,
    _option("-c", "--ctx", help="Context size in tokens [the model's own, as memory allows]."),
]
Threads = Annotated[int | None, _option("-t", "--threads", help="CPU threads [one per core].")]
Lora = Annotated[
    list[str] | None,
    _flag("--lora", metavar="FILE[:SCALE]", help="Lay an adapter over the weights; repeatable."),
]
GpuLayers = Annotated[
    str, _option("--gpu-layers", metavar="auto|all|N", help="Layers to put on the GPU [auto].")
]

System = Annotated[str | None, _option("-s", "--system", help="System message.")]
SystemFile = Annotated[
    str | None, _option("--system-file", metavar="FILE", help="System message from a file.")
]
Messages = Annotated[
    str | None,
    _flag("--messages", metavar="FILE", help="A conversation as JSON; - reads standard input."),
]
Files = Annotated[
    list[str] | None,
    _flag("-f", "--file", help="Add the text of this file to the prompt; repeatable."),
]
Stdin = Annotated[bool, _switch("--stdin", help="Read standard input [unless it is a terminal].")]
Raw = Annotated[bool, _switch("--raw", help="Complete the text as it is, without chat template.")]
_TEMPLATE_HELP = "Chat template (Jinja) to use in place of the model's own."
ChatTemplate = Annotated[
    str | None, _option("--template", "--chat-template", metavar="FILE", help=_TEMPLATE_HELP)
]
# For a batch --template is how a row becomes a prompt.
BatchChatTemplate = Annotated[
    str | None, _option("--chat-template", metavar="FILE", help=_TEMPLATE_HELP)
]
TemplateKwargs = Annotated[
    str | None,
    _option("--template-kwargs", metavar="JSON", help="Variables for the chat template."),
]
Think = Annotated[
    bool | None,
    _option("--think/--no-think", help="Let the model reason before it answers, or not."),
]
ReasoningBudget = Annotated[
    int | None,
    _option("--reasoning-budget", metavar="N", help="End its reasoning after N tokens."),
]
Truncate = Annotated[
    bool, _switch("--truncate", help="Cut the front of a prompt that is too long.")
]

MaxTokens = Annotated[
    int | None,
    _option("-n", "--max-tokens", help="Generate at most N tokens [up to the context's end]."),
]
Temp = Annotated[
    float | None, _option("--temp", help="Temperature; 0 always takes the likeliest token.")
]
TopK = Annotated[int | None, _option("--top-k", help="Sample from the K likeliest; 0 is off.")]
TopP = Annotated[
    float | None, _option("--top-p", help="Sample from the likeliest, together P; 1 is off.")
]
MinP = Annotated[
    float | None, _option("--min-p", help="Drop tokens under P times the likeliest; 0 is off.")
]
RepeatPenalty = Annotated[
    float | None, _option("--repeat-penalty", help="Weaken recent tokens; 1 is off.")
]
Seed = Annotated[int | None, _option("--seed", help="The same seed gives the same text.")]
Stop = Annotated[list[str] | None, _flag("--stop", help="End before this text; repeatable.")]
IgnoreEos = Annotated[bool, _switch("--ignore-eos", help="Go on where the model would end.")]
LogitBias = Annotated[
    list[str] | None,
    _flag("--logit-bias", metavar="TOKEN:BIAS", help="Make a token likelier, or -inf; repeatable."),
]
Logprobs = Annotated[
    int | None,
    _flag("--logprobs", metavar="N", help="Log probabilities of the N likeliest, in JSON."),
]
Completions = Annotated[
    int, _flag("--n", metavar="N", min=1, help="Answer N times; the prompt is computed once.")
]
FailOnLength = Annotated[
    bool, _switch("--fail-on-length", help="Exit 10 if the token limit cut the answer.")
]

Continue = Annotated[bool, _flag("--continue", help="Go on with the last conversation.")]
Shift = Annotated[
    bool, _switch("--shift", help="Drop the oldest turns when the context is full [on].")
]
History = Annotated[
    bool, _switch("--history", help="Remember what was typed and the last conversation [on].")
]
Markdown = Annotated[bool, _switch("--markdown", help="Draw answers as Markdown at a terminal.")]

Parallel = Annotated[
    str,
    _option("-j", "--parallel", metavar="auto|N", help="Rows under way at the same time [auto]."),
]
Counts = Annotated[
    str,
    _flag("-j", "--parallel", metavar="N,N,...", help="Sequences side by side [1,2,4,8,16]."),
]
PromptTokens = Annotated[
    int,
    _flag("-p", "--prompt-tokens", min=0, max=10**6, help="Tokens of each prompt [512]."),
]
GenTokens = Annotated[
    int,
    _flag("-n", "--gen-tokens", min=0, max=10**6, help="Tokens to generate in each [128]."),
]
BenchCtx = Annotated[
    int | None,
    _option("-c", "--ctx", help="Context size in tokens [what the tests need]."),
]
Repetitions = Annotated[
    int, _flag("-r", "--repetitions", min=1, max=1000, help="Measure so many times [3].")
]
InputFile = Annotated[
    str | None,
    typer.Argument(
        metavar="[INPUT]",
        help="JSON lines, text, CSV, or an OpenAI batch; - or none reads standard input.",
        show_default=False,
    ),
]
InputFormat = Annotated[
    str,
    _flag(
        "--input-format",
        metavar="auto|jsonl|text|csv|openai",
        help="Format of the input [by its name, else by its first line].",
    ),
]
Template = Annotated[
    str | None, _flag("--template", help="Prompt in which {field} stands for a row's field.")
]
Unordered = Annotated[
    bool, _switch("--unordered", help="Write rows as they finish, not in the input's order.")
]
Text = Annotated[bool, _flag("--text", help="Write just the answers, one a line, newlines as \\n.")]
Limit = Annotated[int | None, _flag("--limit", min=1, help="Only the first N rows.")]
Sample = Annotated[
    int | None,
    _flag("--sample", min=1, help="Try N rows chosen at random, shown on standard error only."),
]
MaxErrors = Annotated[
    int | None, _option("--max-errors", min=0, help="Give up when more than N rows have failed.")
]
Restart = Annotated[bool, _flag("--restart", help="Start over: empty the file of -o first.")]
RetryErrors = Annotated[
    bool, _flag("--retry-errors", help="Try again the rows that failed in an earlier run.")
]
BatchOutput = Annotated[
    str | None,
    _flag("-o", "--output", help="Append to this file; rows that are there are not done again."),
]
Schema = Annotated[
    str | None,
    typer.Option(
        "--schema",
        "--json-schema",
        metavar="FILE|JSON",
        help="Answer in JSON that this JSON Schema validates.",
        show_default=False,
    ),
]
Format = Annotated[
    str | None,
    typer.Option("--format", metavar="json", help="Answer with a JSON object.", show_default=False),
]
Regex = Annotated[
    str | None, _flag("--regex", help="Answer with what this regular expression matches.")
]
Grammar = Annotated[
    str | None,
    typer.Option(
        "--grammar",
        metavar="FILE|TEXT",
        help="Answer with what this grammar (GBNF or Lark) matches.",
        show_default=False,
    ),
]

Output = Annotated[
    str | None, _option("-o", "--output", help="Write to this file, not to standard output.")
]
Json = Annotated[bool, _flag("--json", help="Print one JSON value.")]
Debug = Annotated[bool, _flag("--debug", help="Show a traceback with every error.")]
DryRun = Annotated[
    bool,
    _flag("--dry-run", help="Show the rendered prompt and the settings; generate nothing."),
]
Quiet = Annotated[bool, _switch("-q", "--quiet", help="Nothing on standard error but errors.")]
Verbose = Annotated[
    int,
    _option(
        "-v", "--verbose", count=True, help="Speed on standard error; -vv: llama.cpp's log too."
    ),
]
Offline = Annotated[bool, _switch("--offline", help="Never use the network.")]

Revision = Annotated[
    str, _option("--revision", metavar="REV", help="Branch, tag or commit on the Hub [main].")
]
Force = Annotated[bool, _flag("--force", help="Fetch even what cannot run on this machine.")]
Yes = Annotated[bool, _flag("-y", "--yes", help="Do not ask.")]
Repair = Annotated[bool, _flag("--repair", help="Fetch damaged files again.")]
Replace = Annotated[bool, _flag("--force", help="Replace a model that you have added.")]
DryRunRemoval = Annotated[
    bool, _flag("--dry-run", help="Show what would be removed; remove nothing.")
]
