"""The named models: what models.toml says, and what a user lays over it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from jinja2 import Environment

import lokal
from lokal.catalog import sections
from lokal.catalog.entry import Entry, ReasoningMarks
from lokal.catalog.quants import choose
from lokal.catalog.refs import NameRef, parse
from lokal.catalog.registry import Registry, models_toml
from lokal.errors import ModelNameError, UsageError
from lokal.settings import Settings

TINY = Path(lokal.__file__).parent / "data" / "tiny.gguf"


def load(tmp_path: Path, overlay: str | None = None) -> Registry:
    settings = Settings(config_dir=tmp_path, state_dir=tmp_path)
    if overlay is not None:
        settings.overlay_path.write_text(overlay, encoding="utf-8")
    return Registry.load(settings)


def resolve(registry: Registry, text: str) -> Entry:
    ref = parse(text)
    assert isinstance(ref, NameRef)
    return registry.resolve(ref)


# -- the built-in file


def test_every_entry_is_right_by_the_strict_schema(tmp_path: Path) -> None:
    """Entries are built unchecked from the built-in file; as an overlay it is checked."""
    text = models_toml().read_text(encoding="utf-8")
    assert set(tomllib.loads(text)) == {"license", "reasoning", "model", "absent"}
    checked = load(tmp_path, text.partition("[absent.")[0])
    assert list(checked.entries()) == list(Registry.read().entries())


def test_the_sections_together_are_the_file() -> None:
    """models.toml is parsed piece by piece; the pieces must make the whole."""
    text = models_toml().read_text(encoding="utf-8")
    pieces = {kind: dict(tables) for kind, tables in sections.split(text).items()}
    assert pieces == tomllib.loads(text)
    assert [*pieces["model"]] == [*tomllib.loads(text)["model"]]


def test_one_name_costs_one_table() -> None:
    """tomllib is slow, and every start looks a name up."""
    tables = sections.split(models_toml().read_text(encoding="utf-8"))
    Registry(tables).resolve(NameRef("mistral", "7b-v0.2"))
    assert [*tables["model"].parsed] == ["mistral"]
    assert [*tables["license"].parsed] == ["Apache-2.0"]


def test_every_entry_is_complete_and_consistent(tmp_path: Path) -> None:
    for entry in load(tmp_path).entries():
        assert entry.architecture, entry.ref
        assert entry.context, entry.ref
        if entry.embedded:
            continue
        assert entry.parameters, entry.ref
        assert entry.size, entry.ref
        assert entry.parameters > (entry.active_parameters or 0)
        assert entry.origin.url, entry.ref
        assert entry.file, entry.ref
        assert "{quant}" in entry.file
        smallest, largest = entry.size_range or (entry.size, entry.size)
        assert smallest <= entry.size <= largest


def test_every_expected_file_name_would_be_picked_by_its_quant(tmp_path: Path) -> None:
    for entry in load(tmp_path).entries():
        if name := entry.filename():
            others = [entry.filename("Q3_K_S") or "", entry.filename("BF16") or ""]
            assert choose([*others, name], entry.quant).files == (name,)


def test_every_name_resolves_and_every_canonical_ref_to_its_own_entry(tmp_path: Path) -> None:
    registry = load(tmp_path)
    assert len(set(registry.names())) == len(registry.names())
    for name in registry.names():
        entry = resolve(registry, name)
        assert resolve(registry, entry.ref) == entry
    refs = [entry.ref for entry in registry.entries()]
    assert len(set(refs)) == len(refs)
    assert set(refs) <= set(registry.names())


@pytest.mark.parametrize(
    ("name", "license_id"),
    [
        ("grok:2", "LicenseRef-Grok-2-Community"),
        ("llama2", "LicenseRef-Llama-2"),
        ("llama3.1", "LicenseRef-Llama-3.1"),
        ("llama3.2:1b", "LicenseRef-Llama-3.2"),
        ("llama3.3", "LicenseRef-Llama-3.3"),
        ("deepseek-r1:8b", "MIT AND LicenseRef-Llama-3.1"),
        ("deepseek-r1:70b", "MIT AND LicenseRef-Llama-3.3"),
        ("deepseek-v3", "LicenseRef-DeepSeek"),
        ("gemma3", "LicenseRef-Gemma"),
        ("codestral", "LicenseRef-MNPL-0.1"),
        ("qwen2.5:3b", "LicenseRef-Qwen-Research"),
        ("qwen2.5:72b", "LicenseRef-Qwen"),
    ],
)
def test_what_is_not_open_source_is_not_called_so(
    tmp_path: Path, name: str, license_id: str
) -> None:
    license_ = resolve(load(tmp_path), name).license
    assert (license_.id, license_.open_source) == (license_id, False)


def test_everything_else_is_open_source(tmp_path: Path) -> None:
    licenses = {entry.license.id: entry.license for entry in load(tmp_path).entries()}
    assert {name for name, license_ in licenses.items() if license_.open_source} == {
        "Apache-2.0",
        "MIT",
    }


def test_the_embedded_model_lies_in_the_package(tmp_path: Path) -> None:
    entry = resolve(load(tmp_path), "tiny")
    path = entry.embedded_path()
    assert path is not None
    assert path.parts[-3:] == ("lokal", "data", "tiny.gguf")
    assert entry.filename() is None


@pytest.mark.skipif(not TINY.exists(), reason="this checkout has no embedded model")
def test_the_embedded_model_is_the_one_that_the_registry_describes(tmp_path: Path) -> None:
    digest = hashlib.sha256(TINY.read_bytes()).hexdigest()
    assert resolve(load(tmp_path), "tiny").sha256 == digest


def render(template: str | None, *turns: tuple[str, str]) -> str:
    """The template as llama.cpp's and our own renderer see it."""
    assert template
    return (
        Environment(trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701 - no HTML
        .from_string(template)
        .render(
            messages=[{"role": role, "content": content} for role, content in turns],
            bos_token="<s>",  # noqa: S106 - no secret
            eos_token="</s>",  # noqa: S106
        )
    )


TURNS = ("user", "U1"), ("assistant", "A1"), ("user", "U2")
SYSTEM = ("system", "S")


def test_the_mistral_v0_1_template_writes_the_old_instruction_format(tmp_path: Path) -> None:
    template = resolve(load(tmp_path), "mistral:7b-v0.1").template
    assert render(template, *TURNS) == "<s>[INST] U1 [/INST]A1</s>[INST] U2 [/INST]"
    assert render(template, SYSTEM, *TURNS[:1]) == "<s>[INST] S\n\nU1 [/INST]"


@pytest.mark.parametrize("name", ["llama2", "llama2:13b"])
def test_the_llama_2_template_writes_its_format(tmp_path: Path, name: str) -> None:
    """As Meta's own code has it: every turn begins with BOS, the system text is in the first."""
    template = resolve(load(tmp_path), name).template
    assert render(template, *TURNS) == "<s>[INST] U1 [/INST] A1 </s><s>[INST] U2 [/INST]"
    system = "<<SYS>>\nS\n<</SYS>>\n\n"
    assert render(template, SYSTEM, *TURNS) == (
        f"<s>[INST] {system}U1 [/INST] A1 </s><s>[INST] U2 [/INST]"
    )


# -- names


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("llama3.2:3b", "llama3.2"),
        ("llama3.1:8b", "llama3.1"),
        ("llama3.3:70b", "llama3.3"),
        ("llama2:13b", "llama2:13b"),
        ("deepseek-r1:8b", "deepseek-r1:8b"),
        ("deepseek-r1:671b", "deepseek-r1:671b"),
        ("deepseek-v3", "deepseek-v3"),
        ("qwen2.5:0.5b", "qwen2.5:0.5b"),
        ("qwen2.5:7b", "qwen2.5"),
        ("qwen3:30b-a3b", "qwen3:30b-a3b"),
        ("gpt-oss:20b", "gpt-oss"),
        ("gpt-oss:120b", "gpt-oss:120b"),
        ("gemma3:4b", "gemma3"),
        ("phi4", "phi4"),
        ("phi4:14b", "phi4"),
        ("phi4-mini", "phi4-mini"),
        ("mistral-nemo", "mistral-nemo"),
        ("mistral-small:24b", "mistral-small"),
        ("ministral:3b", "ministral:3b"),
        ("magistral", "magistral"),
        ("devstral", "devstral"),
        ("codestral", "codestral"),
        ("voxtral", "voxtral"),
        ("smollm2:135m", "smollm2:135m"),
        ("smollm3", "smollm3"),
        ("tinyllama", "tinyllama"),
        ("mistral", "mistral"),
        ("MISTRAL", "mistral"),
        ("mistral:7b", "mistral"),
        ("mistral:7b-v0.3", "mistral"),
        ("mistral:7B-V0.2@Q8_0", "mistral:7b-v0.2"),
        ("mixtral:8x22b", "mixtral:8x22b"),
        ("grok-2", "grok:2"),
        ("grok:1", "grok"),
    ],
)
def test_a_name_means_one_entry(tmp_path: Path, text: str, ref: str) -> None:
    assert resolve(load(tmp_path), text).ref == ref


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("mistrel", "no model named 'mistrel'", "did you mean mistral"),
        ("mixtral-8x7b", "no model named", "mixtral:8x7b"),
        ("grok3", "no model named", "grok"),
        ("zzz", "no model named", "llm models"),
        ("mistral:8b", "mistral has no variant '8b'", "7b-v0.2"),
        ("tiny:1b", "tiny has no variant '1b'", "write tiny"),
    ],
)
def test_an_unknown_name_gets_help(tmp_path: Path, text: str, message: str, hint: str) -> None:
    with pytest.raises(ModelNameError, match=message) as caught:
        resolve(load(tmp_path), text)
    assert hint in caught.value.hint


@pytest.mark.parametrize("name", ["whisper", "Whisper", "whisper:large-v3"])
def test_whisper_explains_itself(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelNameError, match=r"llama\.cpp has no decoder") as caught:
        resolve(load(tmp_path), name)
    assert "whisper.cpp" in caught.value.hint
    assert "voxtral" in caught.value.hint


def test_a_user_may_call_a_model_whisper(tmp_path: Path) -> None:
    overlay = MINE.replace("model.mine", "model.whisper")
    assert resolve(load(tmp_path, overlay), "whisper").title == "Mine"


@pytest.mark.parametrize(
    ("name", "file", "quant"),
    [
        ("mistral", "Mistral-7B-Instruct-v0.3-Q8_0.gguf", "Q8_0"),
        ("mistral", "Mistral-7B-Instruct-v0.3-q4_k_m.gguf", "Q4_K_M"),
        ("mistral", "Mistral-7B-Instruct-v0.3.gguf", None),
        ("mistral:7b-v0.2", "Mistral-7B-Instruct-v0.3-Q8_0.gguf", None),
        ("grok:2", "UD-Q3_K_XL/grok-2-UD-Q3_K_XL.gguf", "UD-Q3_K_XL"),
        ("grok:2", "Q2_K/grok-2-Q3_K_M.gguf", None),
        ("gpt-oss", "gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("smollm2", "smollm2-1.7b-instruct-q4_k_m.gguf", "Q4_K_M"),
        ("tiny", "tiny.gguf", None),
    ],
)
def test_a_file_tells_its_quantization(
    tmp_path: Path, name: str, file: str, quant: str | None
) -> None:
    assert resolve(load(tmp_path), name).quant_of(file) == quant


# -- the user's overlay

MINE = """
[model.mine]
title = "Mine"
repo = "me/mine-GGUF"
file = "mine-{quant}.gguf"
license = "LicenseRef-Mine"
origin = { name = "me" }
confidence = "seen"

[license."LicenseRef-Mine"]
name = "Mine"
url = "https://example.com"
open_source = false
"""


def test_an_overlay_adds_a_model_with_its_licence(tmp_path: Path) -> None:
    registry = load(tmp_path, MINE)
    entry = resolve(registry, "mine@Q8_0")
    assert (entry.ref, entry.filename("Q8_0")) == ("mine", "mine-Q8_0.gguf")
    assert entry.license.id == "LicenseRef-Mine"
    assert [e.ref for e in registry.entries()][-1] == "mine"


def test_an_overlay_replaces_single_fields_and_keeps_the_rest(tmp_path: Path) -> None:
    before = resolve(load(tmp_path), "tiny")
    overlay = """
    [model.tiny.sampling]
    temperature = 0
    [model.mistral.variants.7b]
    quant = "Q8_0"
    [model.mistral.variants.7b-mine]
    title = "My Mistral"
    repo = "me/mistral-GGUF"
    file = "m-{quant}.gguf"
    origin = { name = "me" }
    """
    registry = load(tmp_path, overlay)
    tiny = resolve(registry, "tiny")
    assert (tiny.sampling.temperature, tiny.sampling.top_p) == (0, before.sampling.top_p)
    assert tiny.context == before.context
    assert resolve(registry, "mistral").filename() == "Mistral-7B-Instruct-v0.3-Q8_0.gguf"
    assert resolve(registry, "mistral:7b-mine").license.id == "Apache-2.0"
    assert resolve(registry, "mistral:7b-v0.2").quant == "Q4_K_M"


def test_an_overlay_adds_a_way_of_reasoning(tmp_path: Path) -> None:
    overlay = """
    [reasoning.mine]
    open = "<hm>"
    close = "</hm>"
    [reasoning.harmony]
    channels = ["analysis", "notes"]
    [model.tiny]
    reasoning = "mine"
    """
    registry = load(tmp_path, overlay)
    assert resolve(registry, "tiny").reasoning == ReasoningMarks("<hm>", "</hm>")
    assert resolve(registry, "gpt-oss").reasoning == ReasoningMarks(channels=("analysis", "notes"))
    assert resolve(registry, "mistral").reasoning is None


@pytest.mark.parametrize(
    ("overlay", "parts"),
    [
        ("[model.tiny\n", ["cannot read"]),
        ("[models.tiny]\n", ["models: unknown"]),
        ("model = 3\n", ["model: must be a table"]),
        ("[model]\ntiny = 3\n", ["model.tiny: must be a table"]),
        ("[model.tiny]\nvariants = 3\n", ["model.tiny.variants: must be a table"]),
        ("[model.mistral.variants]\n7b = 3\n", ["model.mistral.variants.7b: must be a table"]),
        ("[model.tiny]\ncolour = 1\n", ["model.tiny.colour", "nexpected"]),
        ("[model.tiny]\ncontext = 'big'\n", ["model.tiny.context", "integer"]),
        ("[model.tiny]\ncontext = 0\n", ["model.tiny", "context must be positive"]),
        ("[model.tiny]\nsampling = {top_p = 2}\n", ["model.tiny.sampling", "top_p"]),
        ("[model.tiny]\nsampling = {heat = 2}\n", ["model.tiny.sampling.heat"]),
        ("[model.tiny]\nlicense = 'GPL'\n", ["model.tiny.license", '[license."GPL"]']),
        (
            "[model.tiny]\nrepo = 'a/b'\n",
            ["model.tiny", "repo and file, or embedded, or path"],
        ),
        ("[model.tiny]\nreasoning = 'hm'\n", ["model.tiny.reasoning", '[reasoning."hm"]']),
        ("[model.tiny]\nreasoning = true\n", ["model.tiny.reasoning", "[reasoning.NAME]"]),
        (
            "[model.tiny]\nreasoning = {open = 'x', close = 'y'}\n",
            ["model.tiny.reasoning: write the name of a table [reasoning.NAME]"],
        ),
        (
            "[model.mistral.variants.7b.license]\nid = 'x'\nname = 'X'\nurl = 'u'\n"
            "open_source = false\n",
            ["model.mistral.variants.7b.license: write the name of a table [license.NAME]"],
        ),
        ("[reasoning.x]\nopen = '<x>'\n", ["reasoning.x", "open and close, or channels"]),
        ("[reasoning.x]\nopen = ' '\nclose = 'x'\n", ["reasoning.x", "open and close"]),
        ("[reasoning.harmony]\nopen = 'x'\n", ["reasoning.harmony", "open and close"]),
        ("[reasoning.x]\nchannels = ['']\n", ["reasoning.x", "open and close"]),
        ("[reasoning.x]\nchannels = 'x'\n", ["reasoning.x.channels"]),
        ("[reasoning.x]\nend = 'x'\n", ["reasoning.x.end"]),
        ("[reasoning]\nx = 3\n", ["reasoning.x: must be a table"]),
        ("[model.tiny]\ndefault = 'x'\n", ["model.tiny.default", "one of the variants"]),
        ("[model.mistral]\ndefault = 'x'\n", ["model.mistral.default", "one of the variants"]),
        ("[model.tiny]\naliases = ['Tiny One']\n", ["model.tiny", "Tiny One"]),
        ("[model.new]\ntitle = 'New'\n", ["model.new", "license"]),
        ("[model.Big]\ntitle = 'New'\nlicense = 'MIT'\n", ["model.Big"]),
        ("[model.mistral.variants.7b]\nsize = -1.5\n", ["model.mistral.variants.7b.size"]),
        ("[license.MIT]\nfree = true\n", ["license.MIT.free"]),
        ("[license.MIT]\nopen_source = 'no'\n", ["license.MIT", "without quotes"]),
        ("[model.tiny]\nbase = 'no'\n", ["model.tiny", "without quotes"]),
        ("[model.tiny]\nsampling = {temperature = '1'}\n", ["model.tiny", "without quotes"]),
    ],
)
def test_a_wrong_overlay_names_file_and_field(
    tmp_path: Path, overlay: str, parts: list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, overlay)
    assert str(tmp_path / "models.toml") in caught.value.message
    for part in parts:
        assert part in caught.value.message
    assert "\n" not in caught.value.message


def test_without_an_overlay_no_heavy_module_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from lokal.settings import Settings;"
        "from lokal.catalog.registry import Registry; from lokal.catalog.refs import parse;"
        f"path = Path({str(tmp_path)!r});"
        "Registry.load(Settings(path, path)).resolve(parse('tiny'));"
        "print([m for m in ('pydantic', 'difflib', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def loaded(tmp_path: Path, module: str = "pydantic") -> bool:
    """Whether a fresh process needs a module to find `tiny`."""
    code = (
        "import sys; from pathlib import Path; from lokal.settings import Settings;"
        "from lokal.catalog.registry import Registry; from lokal.catalog.refs import parse;"
        f"path = Path({str(tmp_path)!r});"
        "Registry.load(Settings(path, path / 'state')).resolve(parse('tiny'));"
        f"print({module!r} in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout == "True\n"


def test_an_overlay_is_checked_once_and_after_each_change(tmp_path: Path) -> None:
    """The check takes longer than the rest of a start."""
    overlay = tmp_path / "models.toml"
    overlay.write_text(MINE)
    assert [loaded(tmp_path), loaded(tmp_path)] == [True, False]
    overlay.write_text(MINE + "# changed\n")
    assert [loaded(tmp_path), loaded(tmp_path)] == [True, False]
    settings = Settings(tmp_path, tmp_path / "state")
    overlay.write_text("[model.tiny]\ncolour = 1\n")
    for _ in range(2):
        with pytest.raises(UsageError, match="colour"):
            Registry.load(settings)


def test_without_a_place_to_remember_it_is_checked_again(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(MINE)
    (tmp_path / "state").write_text("a file in the way")
    assert [loaded(tmp_path), loaded(tmp_path)] == [True, True]
