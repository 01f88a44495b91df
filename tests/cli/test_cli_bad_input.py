"""What is wrong gets one line that says what, one that helps, and its exit code; never a crash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ggufs
import pytest
from command import Llm, assert_error

Maker = Callable[[Path], object]


def _nothing(_path: Path) -> None:
    """No such file."""


# What lies where the model should be, the exit code, and words of the message.
FILES: dict[str, tuple[Maker, int, str]] = {
    "missing": (_nothing, 3, "no such file"),
    "directory": (Path.mkdir, 12, "is a directory"),
    "empty": (Path.touch, 12, "is empty"),
    "text": (lambda path: path.write_text("Dear diary, today"), 12, "a text file"),
    "web-page": (lambda path: path.write_text("<!DOCTYPE html>"), 12, "a web page"),
    "zeros": (lambda path: path.write_bytes(bytes(4096)), 12, "zeros"),
    "header-only": (lambda p: ggufs.truncate(ggufs.write(p), 1000), 12, "truncated"),
    "cut": (lambda path: ggufs.truncate(ggufs.write(path), -1000), 12, "truncated"),
    "martian": (lambda path: ggufs.write(path, "martian"), 12, "architecture: 'martian'"),
    "no-vocabulary": (lambda path: ggufs.write(path, vocab=None), 12, "no vocabulary"),
    "obsolete": (lambda p: ggufs.write(p, "mixtral-2023"), 12, "one tensor per expert"),
    "broken-template": (lambda p: ggufs.write(p, template="{% if %}"), 12, "template is broken"),
    "refusing-template": (
        lambda path: ggufs.write(path, template="{{ raise_exception('I refuse') }}"),
        *(2, "I refuse"),
    ),
}


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_usable_model(llm: Llm, kind: str, as_json: bool) -> None:
    """Every kind of wrong file has its own words."""
    make, code, words = FILES[kind]
    path = llm.home / "model.gguf"
    make(path)
    result = llm.run("run", path, "hello", *(["--json"] if as_json else []))
    assert_error(result, code, words, as_json=as_json)


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize("shard", [0, 1])
def test_an_answer_never_overwrites_a_model(
    llm: Llm, tmp_path: Path, shard: int, dry: list[str]
) -> None:
    """Emptying weights that are mapped into memory would kill the process, and the weights."""
    shards = ggufs.write_split(tmp_path / "x.gguf")
    size = shards[shard].stat().st_size
    result = llm.run("run", shards[0], "hello", "-n", "1", "-o", shards[shard], *dry)
    assert_error(result, 2, "is a model")
    assert shards[shard].stat().st_size == size


def test_an_obsolete_mixtral_names_files_that_work(llm: Llm, tmp_path: Path) -> None:
    """Whoever has a 2023 Mixtral learns where to get one that loads."""
    path = ggufs.write(tmp_path / "old.gguf", "mixtral-2023")
    assert_error(llm.run("show", path), 12, "hint: mradermacher/Mixtral-8x7B")


FLAGS = [
    *(("-n", value) for value in ("0", "-1", "x", "nan", "1.5", "99999999999999999999", "")),
    *(("-c", value) for value in ("0", "1", "-5", "x", "999999999999", "1e3")),
    *(("-t", value) for value in ("0", "-1", "100000", "x")),
    *(("--temp", value) for value in ("-1", "nan", "inf", "-inf", "1e400", "x", "101")),
    *(("--top-p", value) for value in ("-0.1", "1.1", "nan", "x")),
    *(("--top-k", value) for value in ("-1", "1.5", "99999999999", "x")),
    *(("--min-p", value) for value in ("-0.1", "1.1", "nan")),
    *(("--repeat-penalty", value) for value in ("0", "-1", "nan", "inf")),
    *(("--seed", value) for value in ("-1", "4294967296", "x")),
    *(("--gpu-layers", value) for value in ("x", "-1", "1.5", "99999999999", "")),
    ("--stop", ""),
    ("--json=1",),
    ("-z",),
    ("--nope",),
    ("more", "words"),
    ("-f", "nosuchfile"),
    ("-f", "."),
    ("-f", "~nosuchuser/file"),
    ("-o", "."),
    ("-o", "nosuchdir/file"),
    ("-n",),
]


@pytest.mark.parametrize("flags", FLAGS, ids=" ".join)
def test_a_wrong_flag(llm: Llm, llama: Path, flags: tuple[str, ...]) -> None:
    """No value is so absurd that it gets past the checks: exit code 2."""
    assert_error(llm.run("run", llama, "hello", *flags, cwd=llm.home), 2)


@pytest.mark.parametrize("flags", [("-t", "512"), ("--gpu-layers", "all"), ("--temp", "1e-30")])
def test_an_odd_flag_that_is_right(llm: Llm, llama: Path, flags: tuple[str, ...]) -> None:
    """The edges of what is allowed really work."""
    result = llm.run("run", llama, "hello", "-n", "3", "-q", *flags)
    assert (result.code, result.stderr) == (0, "")


def test_a_context_beyond_memory(llm: Llm, slow: Path) -> None:
    """Exit code 6 says how much is needed, how much there is, and what fits."""
    result = llm.run("run", slow, "hello", "-c", "134217728")
    assert_error(result, 6, "GB of memory", "GB are free", "hint: -c ", "fits")


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["run", "mistra", "hi"], 3, "did you mean mistral"),
        (["run", "mistral:9b", "hi"], 3, "its variants: 7b"),
        (["run", "xyzzy", "hi"], 3, "`llm models` lists the names"),
        (["run", "", "hi"], 3, "empty"),
        (["run", "a b", "hi"], 3, "space"),
        (["run", "a/b/c", "hi"], 3, "no repository name"),
        (["run", "mistral", "hi"], 5, "not in the cache"),
        (["run", "owner/repo", "hi", "--offline"], 5, "not in the cache"),
        (["run"], 2, "Missing argument 'model'"),
        (["runn", "tiny"], 2, "'run'"),
        (["xyzzy"], 2, "llm --help"),
        (["--nope"], 2, "llm --help"),
        (["run", "tiny", "--tem", "0"], 2, "--temp"),
        (["run", "tiny", "tell", "me"], 2, "hint: put the whole prompt in quotes"),
        (["show"], 2, "llm show --help"),
        (["show", "xyzzy"], 3, "xyzzy"),
        (["ls", "x"], 2, "llm ls --help"),
        (["run", "tiny", "x", "--temp"], 2, "llm run --help"),
    ],
)
def test_a_wrong_word(llm: Llm, args: list[str], code: int, words: str) -> None:
    """Names, verbs and options that do not exist, with what was probably meant."""
    assert_error(llm.run(*args), code, words)
    assert_error(llm.run(*args, "--json"), code, as_json=True)


def test_bytes_that_are_no_utf8(llm: Llm, llama: Path) -> None:
    """Argument, system message, file and stdin say which of them it is."""
    bad = llm.home / "bad"
    bad.write_bytes(b"ab\xff")
    assert_error(llm.run("run", llama, b"ab\xff"), 2, "the prompt is not valid UTF-8")
    assert_error(llm.run("run", llama, "x", "-s", b"\xff"), 2, "the system message is not")
    assert_error(llm.run("run", llama, "-f", bad), 2, str(bad), "not valid UTF-8 (byte 2)")
    assert_error(llm.run("run", llama, stdin=b"ab\xff"), 2, "standard input is not valid UTF-8")
    assert_error(llm.run("run", b"m\xff", "x"), 3, "no model name")


@pytest.mark.parametrize("args", [[""], [], ["-"], ["--no-stdin"], ["-", "--no-stdin"]])
def test_an_empty_prompt(llm: Llm, llama: Path, args: list[str]) -> None:
    """Nothing asked, nothing answered."""
    assert_error(llm.run("run", llama, *args), 2, "the prompt is empty", "llm run MODEL")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_prompt_longer_than_the_context(llm: Llm, llama: Path, as_json: bool) -> None:
    """Exit code 9, with both numbers, and before anything is generated."""
    flags = ["--json"] if as_json else []
    result = llm.run("run", llama, "the " * 600, "-c", "64", *flags)
    assert_error(result, 9, "has 605 tokens", "holds 64", "--truncate", as_json=as_json)
    assert_error(llm.run("run", llama, "hello", "-c", "2"), 9, "has 5 tokens", "holds 2")


def test_ten_megabytes(llm: Llm, llama: Path) -> None:
    """A prompt beyond any context is refused like any other that is too long."""
    assert_error(llm.run("run", llama, stdin=b"a" * 10_000_000), 9, "holds 4096")


def test_an_endless_pipe(llm: Llm, llama: Path) -> None:
    """Reading ends somewhere."""
    result = llm.shell('yes | llm run "$1"', llama)
    assert_error(result, 2, "standard input has more than 64 MiB")


CONFIGS = {
    "temp = \nx = 1": "Invalid value (at line 1",
    "tempp = 1": "config.toml sets 'tempp'",
    "max-tokens = 1": "max_tokens",
    "[run]\ntempp = 1": "config.toml sets 'run.tempp'",
    "[runn]\ntemp = 1": "config.toml sets 'runn'",
    "run = 1": "config.toml sets 'run'",
    "json = true": "config.toml sets 'json'",
    'temp = "hot"': "hint: it comes from temp in config.toml",
    "temp = -1": "temperature is -1",
    "max_tokens = 1.5": "max_tokens in config.toml",
    "max_tokens = [3]": "config.toml gives max_tokens a list or a table",
    "temp = { a = 1 }": "config.toml gives temp a list or a table",
    "stop = [[1]]": "config.toml gives stop a list or a table",
    'quiet = "perhaps"': "quiet in config.toml",
}


@pytest.mark.parametrize("config", CONFIGS)
def test_a_broken_config(llm: Llm, llama: Path, config: str) -> None:
    """config.toml is named, and help still works."""
    (llm.config / "config.toml").write_text(config)
    assert_error(llm.run("run", llama, "hello"), 2, CONFIGS[config])


def test_help_survives_a_broken_config(llm: Llm) -> None:
    """What explains the options does not depend on them."""
    (llm.config / "config.toml").write_bytes(b"a\xff")
    assert_error(llm.run("models"), 2, str(llm.config / "config.toml"))
    for args in (["--help"], ["run", "--help"], ["--version"], []):
        assert llm.run(*args).code == 0


OVERLAYS = {
    "x =": "Invalid value",
    "foo = 1": "foo: unknown",
    "model = 1": "model: must be a table",
    "[model.x]\nvariants = 3": "model.x.variants: must be a table",
    '[model.x]\ntitle = "X"': "model.x.license",
    "[model.tiny.sampling]\ntemperature = -3": "temperature is out of range",
    '[model.tiny]\nlicence = "MIT"': "model.tiny.licence",
}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_broken_overlay(llm: Llm, overlay: str) -> None:
    """The user's models.toml is named, with the field."""
    path = llm.config / "models.toml"
    path.write_text(overlay)
    assert_error(llm.run("models"), 2, str(path), OVERLAYS[overlay])


@pytest.mark.parametrize("name", ["TEMP", "MAX_TOKENS", "CTX", "QUIET", "OFFLINE"])
def test_a_broken_environment(llm: Llm, llama: Path, name: str) -> None:
    """The variable is named."""
    result = llm.run("run", llama, "hello", env={f"LOKAL_{name}": "perhaps"})
    assert_error(result, 2, f"hint: it comes from the environment variable LOKAL_{name}")


def test_debug_adds_a_traceback_and_changes_nothing_else(llm: Llm) -> None:
    """The exit code and the two lines stay."""
    result = llm.run("run", "xyzzy", "hi", "--debug")
    assert result.code == 3
    assert result.stderr.startswith("Traceback")
    assert result.stderr.endswith(llm.run("run", "xyzzy", "hi").stderr)
