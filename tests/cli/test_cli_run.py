"""`llm run`: what goes in, what comes out."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import ggufs
import pytest
from command import Llm, assert_error

GREEDY = ("--temp", "0", "-n", "12")


def prompt_of(llm: Llm, *args: Path | str, stdin: bytes = b"") -> str:
    """The rendered prompt, as --dry-run shows it."""
    return llm.run("run", *args, "--dry-run", "--json", stdin=stdin).json["prompt"]


def settings_of(
    llm: Llm, *args: Path | str, env: dict[str, str] | None = None
) -> dict[str, object]:
    return llm.run("run", *args, "hi", "--dry-run", "--json", env=env).json


def test_the_embedded_model_answers(llm: Llm) -> None:
    """`llm run tiny` works from the package alone, and says something."""
    result = llm.run("run", "tiny", "Tell me a story about a fox", "--seed", "1", "-n", "30")
    assert result.code == 0
    assert len(result.text.split()) > 5


@pytest.mark.parametrize(
    ("args", "stdin", "expected"),
    [
        (["one"], b"", "one"),
        ([], b"piped\n", "piped"),
        (["-"], b"piped", "piped"),
        (["one"], b"piped\n", "one\n\npiped"),
        (["say {}, {}!"], b"ho\r\n", "say ho, ho!"),
        (["say {}"], b"", "say "),
        (["say {}", "--no-stdin"], b"ho", "say {}"),
        (["one", "--no-stdin"], b"piped", "one"),
        (["one", "-f", "a.txt", "-f", "b.txt"], b"piped", "one\n\nA\n\nB\n\n\npiped"),
        (["-f", "a.txt"], b"", "A"),
        (["{} and", "-f", "a.txt"], b"ho", "ho and\n\nA"),
        (["\N{GRINNING FACE} é"], "\ufeffñ".encode(), "\N{GRINNING FACE} é\n\nñ"),
    ],
)
def test_the_prompt_is_put_together(
    llm: Llm, llama: Path, args: list[str], stdin: bytes, expected: str
) -> None:
    """Argument, files and stdin, in this order, a blank line between; stdin fills `{}`."""
    (llm.home / "a.txt").write_text("A\n")
    (llm.home / "b.txt").write_text("B\n\n")
    args = [str(llm.home / arg) if arg.endswith(".txt") else arg for arg in args]
    assert prompt_of(llm, llama, *args, stdin=stdin) == f"<s>[INST] {expected}[/INST]"


def test_raw_completes_the_text_as_it_is(llm: Llm, llama: Path) -> None:
    """--raw leaves the template out, and lets the vocabulary add its BOS."""
    shown = llm.run("run", llama, "once upon", "--raw", "--dry-run", "--json").json
    assert shown["prompt"] == "once upon"
    assert shown["prompt_tokens"] == 3


def test_the_system_message_comes_first(llm: Llm, llama: Path) -> None:
    """-s reaches the template."""
    assert prompt_of(llm, llama, "hello", "-s", "Be brief.") == (
        "<s>[INST] Be brief.\n\nhello[/INST]"
    )


def test_a_refused_system_message_is_not_lost(llm: Llm, tmp_path: Path) -> None:
    """A template that raises on a system message gets it in front of the user's."""
    path = ggufs.write(tmp_path / "raising.gguf", template=ggufs.RAISING_TEMPLATE)
    assert prompt_of(llm, path, "hello", "-s", "Be brief.") == (
        "<s>[INST] Be brief.\n\nhello [/INST]"
    )


def test_without_a_template_the_text_is_completed_and_a_note_says_so(llm: Llm, grok: Path) -> None:
    """A base model completes; nobody has to guess why it does not answer."""
    result = llm.run("run", grok, "once", "--dry-run", "--json")
    assert result.json["prompt"] == "once"
    assert "no chat template" in result.stderr
    assert llm.run("run", grok, "once", "--dry-run", "--json", "-q").stderr == ""


def test_the_same_seed_gives_the_same_text(llm: Llm, llama: Path) -> None:
    """--seed repeats an answer; another seed gives another one."""
    args = ("run", llama, "hello", "-n", "20", "--temp", "1", "--seed")
    first, again, other = (llm.run(*args, seed).stdout for seed in ("7", "7", "8"))
    assert first == again != other


def test_a_drawn_seed_repeats_the_answer(llm: Llm, llama: Path) -> None:
    """The seed that --json shows is the one that was used."""
    args = ("run", llama, "hello", "-n", "12", "--temp", "1", "--json")
    first = llm.run(*args).json
    assert llm.run(*args, "--seed", str(first["seed"])).json["text"] == first["text"]


def test_stop_ends_before_the_text(llm: Llm, llama: Path) -> None:
    """The earliest of several --stop texts ends the answer and is no part of it."""
    args = ("run", llama, "hello", "--temp", "0", "-n", "60", "--ignore-eos", "--json")
    whole = llm.run(*args).json["text"]
    early, late = re.findall("[a-z]{4,}", whole)[:2]
    assert whole.index(early) < whole.index(late)
    result = llm.run(*args, "--stop", late, "--stop", early).json
    assert result["text"] == whole[: whole.index(early)]
    assert result["finish_reason"] == "stop"


def test_json_has_the_shape_of_the_contract(llm: Llm, llama: Path) -> None:
    """Exactly the documented fields, with honest values."""
    result = llm.run("run", llama, "hello", *GREEDY, "--ignore-eos", "--seed", "5", "--json")
    value = result.json
    assert list(value) == [
        *("model", "text", "reasoning", "finish_reason", "usage", "timings", "seed"),
        *("weights", "fingerprint"),
    ]
    assert value["model"] == str(llama)
    assert value["reasoning"] is None
    assert value["finish_reason"] == "length"
    assert value["usage"] == {"prompt_tokens": 5, "cached_tokens": 0, "completion_tokens": 12}
    assert list(value["timings"]) == ["load", "prompt", "generate"]
    assert all(seconds > 0 for seconds in value["timings"].values())
    assert value["seed"] == 5
    assert value["weights"] == f"sha256:{hashlib.sha256(llama.read_bytes()).hexdigest()}"
    assert len(value["fingerprint"]) == 16


def test_json_carries_the_text_that_would_be_printed(llm: Llm, llama: Path) -> None:
    """Same text both ways, but for bytes that JSON cannot carry."""
    args = ("run", llama, "hello", "-n", "40", "--temp", "0", "--ignore-eos")
    printed = llm.run(*args).stdout.decode("utf-8", "replace")
    assert printed == llm.run(*args, "--json").json["text"].rstrip("\n") + "\n"


@pytest.mark.parametrize(
    ("args", "changes"),
    [
        (["--temp", "0.5"], True),
        (["-c", "512"], True),
        (["--raw"], True),
        (["-s", "x"], True),
        (["--seed", "9"], False),
    ],
)
def test_the_fingerprint_tells_settings_apart(
    llm: Llm, llama: Path, args: list[str], changes: bool
) -> None:
    """What shapes the output changes the fingerprint; the seed has its own field."""
    common = ("run", llama, "hello", "-n", "1", "--json")
    base = llm.run(*common).json["fingerprint"]
    assert (llm.run(*common, *args).json["fingerprint"] != base) == changes


@pytest.mark.parametrize("as_json", [False, True])
def test_output_goes_to_a_file(llm: Llm, llama: Path, as_json: bool) -> None:
    """-o writes what would have been printed, over what was there, and prints nothing."""
    args = ("run", llama, "hello", *GREEDY, *(["--json"] if as_json else []))
    path = llm.home / "answer"
    path.write_text("x" * 1000)
    result = llm.run(*args, "-o", path)
    assert (result.code, result.stdout) == (0, b"")
    if as_json:
        assert b'"finish_reason"' in path.read_bytes()
    else:
        assert path.read_bytes() == llm.run(*args).stdout


def test_truncate_cuts_the_front_and_says_so(llm: Llm, llama: Path) -> None:
    """A prompt that is too long keeps its end, under --truncate only."""
    long = "the " * 5000 + "END"
    assert_error(llm.run("run", llama, stdin=long.encode()), 9)
    result = llm.run(
        "run", llama, "--truncate", "-n", "4", "--dry-run", "--json", stdin=long.encode()
    )
    assert result.json["prompt"].endswith("END[/INST]")
    assert 2000 < result.json["prompt_tokens"] <= 4092
    assert "note: cut " in result.stderr


def test_an_answer_that_was_cut_is_said_to_be_cut(llm: Llm, llama: Path) -> None:
    """The token limit is told with the option that raises it; -q keeps quiet."""
    args = ("run", llama, "hello", "-n", "3", "--ignore-eos")
    result = llm.run(*args)
    assert result.code == 0
    assert "limit of 3 tokens; -n raises it" in result.stderr
    assert llm.run(*args, "-q").stderr == ""


def test_fail_on_length_keeps_the_text_and_exits_10(llm: Llm, llama: Path) -> None:
    """The cut answer is there, and so is the exit code."""
    args = ("run", llama, "hello", "-n", "3", "--ignore-eos", "--temp", "0")
    cut = llm.run(*args, "--fail-on-length")
    assert cut.code == 10
    assert cut.stdout == llm.run(*args).stdout
    assert cut.stderr.startswith("error: the answer was cut at the limit of 3 tokens\nhint: ")
    result = llm.run(*args, "--fail-on-length", "--json")
    assert result.code == 10
    assert result.json["finish_reason"] == "length"


def test_the_end_of_the_context_is_a_limit_too(llm: Llm, llama: Path) -> None:
    """Without -n an answer goes on to the context's end, and the hint is another one."""
    result = llm.run("run", llama, "hello", "-c", "32", "--ignore-eos", "--fail-on-length")
    assert result.code == 10
    assert "the end of the context (32 tokens)" in result.stderr
    assert "-c raises it" in result.stderr


def test_dry_run_shows_settings_and_prompt(llm: Llm, llama: Path) -> None:
    """One setting a line, then the prompt as the model would read it."""
    result = llm.run("run", llama, "hello", "--dry-run", "--stop", "a b", "-n", "7")
    settings, _, prompt = result.text.partition("\n\n")
    assert prompt == "<s>[INST] hello[/INST]\n"
    shown = dict(line.split(None, 1) for line in settings.splitlines())
    assert shown["model"] == str(llama)
    assert shown["max_tokens"] == "7"
    assert shown["stop"] == "'a b'"
    assert shown["seed"] == "-"


def test_verbose_tells_the_speed_on_stderr(llm: Llm, llama: Path) -> None:
    """-v adds two lines, where it runs and how fast; the answer stays as it is."""
    result = llm.run("run", llama, "hello", *GREEDY, "--ignore-eos", "-v", "-q")
    assert result.stdout == llm.run("run", llama, "hello", *GREEDY, "--ignore-eos").stdout
    device, _ = result.stderr.splitlines()
    assert device.startswith("CPU; one sequence")
    for part in ("load ", "prompt 5 tokens", "generated 12 tokens", "/s", "length"):
        assert part in result.stderr


def test_precedence(llm: Llm, tmp_path: Path) -> None:
    """Flag over environment over config.toml over the registry over the file over the default."""
    recommended = {"general.sampling.temp": 0.11}
    path = ggufs.write(tmp_path / "x.gguf", metadata=recommended)
    plain = ggufs.write(tmp_path / "plain.gguf")
    assert settings_of(llm, plain)["temperature"] == pytest.approx(0.8)
    assert settings_of(llm, path)["temperature"] == pytest.approx(0.11)
    (llm.config / "config.toml").write_text("temp = 0.22\n[run]\ntop_k = 5\n")
    assert settings_of(llm, path)["temperature"] == pytest.approx(0.22)
    assert settings_of(llm, path)["top_k"] == 5
    env = {"LOKAL_TEMP": "0.33"}
    assert settings_of(llm, path, env=env)["temperature"] == pytest.approx(0.33)
    assert settings_of(llm, path, "--temp", "0.44", env=env)["temperature"] == pytest.approx(0.44)


def test_the_users_registry_goes_over_the_built_in_one(llm: Llm) -> None:
    """An overlay changes single fields of a model; the rest stays."""
    before = settings_of(llm, "tiny")
    (llm.config / "models.toml").write_text("[model.tiny.sampling]\ntop_k = 13\n")
    after = settings_of(llm, "tiny")
    assert after == {**before, "top_k": 13}
    (llm.config / "config.toml").write_text("top_k = 14\n")
    assert settings_of(llm, "tiny")["top_k"] == 14


def test_a_flag_switches_off_what_config_switches_on(llm: Llm, llama: Path) -> None:
    """A flag wins, in both directions."""
    (llm.config / "config.toml").write_text("raw = true\nquiet = true\n")
    assert llm.run("run", llama, "hi", "--dry-run", "--json").json["prompt"] == "hi"
    templated = llm.run("run", llama, "hi", "--dry-run", "--json", "--no-raw").json["prompt"]
    assert templated == "<s>[INST] hi[/INST]"
    assert llm.run("run", llama, "hi", "-n", "1").stderr == ""
    assert "limit of 1 tokens" in llm.run("run", llama, "hi", "-n", "1", "--no-quiet").stderr


def test_a_dry_run_tells_that_the_prompt_is_too_long(llm: Llm, llama: Path) -> None:
    """It shows all, to a file too, and ends as the run itself would."""
    path = llm.home / "shown.json"
    result = llm.run("run", llama, "hi " * 999, "-c", "256", "--dry-run", "--json", "-o", path)
    assert result.code == 9
    assert json.loads(path.read_text())["prompt_tokens"] > 256


def test_config_values_are_read_like_typed_ones(llm: Llm, llama: Path) -> None:
    """Lists for repeatable options, a single text for one of them, switches, a verb's table."""
    (llm.config / "config.toml").write_text(
        'stop = "one"\nignore_eos = true\nmax_tokens = 3\n[run]\nmax_tokens = 4\n'
    )
    shown = settings_of(llm, llama)
    assert shown["stop"] == ["one"]
    assert shown["ignore_eos"] is True
    assert shown["max_tokens"] == 4
    (llm.config / "config.toml").write_text('stop = ["a b", "c"]\n')
    assert settings_of(llm, llama)["stop"] == ["a b", "c"]
