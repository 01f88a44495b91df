"""The options that verbs share, declared once.

Nearly every option can also be set by an environment variable, LOKAL_ and its name (LOKAL_TEMP),
and by its name in config.toml; a flag wins over both.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer


def _complete_model(incomplete: str) -> list[str]:
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
    return typer.Option(
        *flags,
        help=help,
        envvar="LOKAL_" + flags[-1].strip("-").replace("-", "_").upper(),
        show_envvar=False,
        show_default=False,
        **more,
    )


ModelName = Annotated[
    str,
    typer.Argument(
        help="A name (`llm models` lists them), OWNER/REPO[:QUANT], or a .gguf file.",
        autocompletion=_complete_model,
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

Ctx = Annotated[
    int | None,
    _option("-c", "--ctx", help="Context size in tokens [the model's own, as memory allows]."),
]
Threads = Annotated[int | None, _option("-t", "--threads", help="CPU threads [one per core].")]
GpuLayers = Annotated[
    str, _option("--gpu-layers", metavar="auto|all|N", help="Layers to put on the GPU [auto].")
]

System = Annotated[str | None, _option("-s", "--system", help="System message.")]
Files = Annotated[
    list[str] | None,
    _option("-f", "--file", help="Add the text of this file to the prompt; repeatable."),
]
NoStdin = Annotated[bool, _option("--no-stdin", help="Never read standard input.")]
Raw = Annotated[bool, _option("--raw", help="Complete the text as it is, without chat template.")]
Truncate = Annotated[
    bool, _option("--truncate", help="Cut the front of a prompt that is too long.")
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
Stop = Annotated[list[str] | None, _option("--stop", help="End before this text; repeatable.")]
IgnoreEos = Annotated[bool, _option("--ignore-eos", help="Go on where the model would end.")]
FailOnLength = Annotated[
    bool, _option("--fail-on-length", help="Exit 10 if the token limit cut the answer.")
]

Output = Annotated[
    str | None, _option("-o", "--output", help="Write to this file, not to standard output.")
]
# The next two shape errors too, even those of the environment and config.toml, which therefore
# cannot set them.
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value.", show_default=False)]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show a traceback with every error.", show_default=False)
]
Quiet = Annotated[bool, _option("-q", "--quiet", help="Nothing on standard error but errors.")]
Verbose = Annotated[
    int,
    _option(
        "-v", "--verbose", count=True, help="Speed on standard error; -vv: llama.cpp's log too."
    ),
]
DryRun = Annotated[
    bool, _option("--dry-run", help="Show the rendered prompt and the settings; generate nothing.")
]
Offline = Annotated[bool, _option("--offline", help="Never use the network.")]

Yes = Annotated[bool, _option("-y", "--yes", help="Do not ask.")]
Repair = Annotated[bool, _option("--repair", help="Fetch damaged files again.")]
Replace = Annotated[bool, _option("--force", help="Replace a model that you have added.")]
DryRunRemoval = Annotated[
    bool, _option("--dry-run", help="Show what would be removed; remove nothing.")
]
