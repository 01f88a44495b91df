"""llm run with --schema, --format, --regex and --grammar, as a process."""

from __future__ import annotations

import json
import re
from pathlib import Path

import ggufs
import pytest
from command import Llm, assert_error

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "sizes": {"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 1, "maxItems": 3},
    },
    "required": ["name", "sizes"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("option", ["--schema", "--json-schema"])
@pytest.mark.parametrize("as_file", [True, False])
def test_a_schema_inline_or_from_a_file(
    llm: Llm, tmp_path: Path, option: str, as_file: bool
) -> None:
    """The answer is its JSON and nothing else."""
    given = json.dumps(SCHEMA, indent=1)
    if as_file:
        (tmp_path / "s.json").write_text(given, encoding="utf-8-sig")
        given = str(tmp_path / "s.json")
    result = llm.run("run", "tiny", "Name something", option, given, "--seed", "1")
    assert result.code == 0, result
    assert result.stderr == ""
    assert {*json.loads(result.stdout)} == {"name", "sizes"}


def test_a_random_model_keeps_to_it(llm: Llm, llama: Path) -> None:
    """It has never seen JSON."""
    for seed in "12345":
        result = llm.run(
            "run", llama, "hi", "--schema", json.dumps(SCHEMA), "--seed", seed, "--temp", "3"
        )
        assert result.code == 0, result
        assert {*json.loads(result.stdout)} == {"name", "sizes"}


def test_json_is_an_object(llm: Llm) -> None:
    result = llm.run("run", "tiny", "Who are you?", "--format", "json", "--seed", "1")
    assert (result.code == 0 and isinstance(json.loads(result.stdout), dict)) or result.code == 10


@pytest.mark.parametrize(
    ("grammar", "pattern"),
    [
        ('root ::= ("a" | "b"){3} "."\n', r"[ab]{3}\.\n"),
        ('start: "x" NUMBER\nNUMBER: /[0-9]{2}/\n', r"x\d\d\n"),
    ],
)
def test_a_grammar_inline_from_a_file_or_a_pipe(
    llm: Llm, tmp_path: Path, grammar: str, pattern: str
) -> None:
    """GBNF and Lark; what names a file is one."""
    path = tmp_path / "g.txt"
    path.write_text(grammar, encoding="utf-8")
    for given in (grammar, path):
        result = llm.run("run", "tiny", "hi", "--grammar", given)
        assert result.code == 0, result
        assert re.fullmatch(pattern, result.text)
    piped = llm.shell('llm run tiny hi --no-stdin --grammar <(cat "$1")', path)
    assert re.fullmatch(pattern, piped.text), piped


def test_a_regex(llm: Llm) -> None:
    result = llm.run("run", "tiny", "hi", "--regex", "(yes|no), [A-Z]{3}!")
    assert re.fullmatch(r"(yes|no), [A-Z]{3}!\n", result.text), result


def test_it_shapes_the_fingerprint(llm: Llm) -> None:
    """And the JSON result has the answer as a text."""
    prints = set()
    for regex in ("yes|no", "yes|nö"):
        result = llm.run("run", "tiny", "hi", "--regex", regex, "--json")
        assert result.json["finish_reason"] == "stop"
        assert result.json["reasoning"] is None
        assert re.fullmatch(regex, result.json["text"])
        prints.add(result.json["fingerprint"])
    assert len(prints) == 2


def test_an_answer_that_was_cut_exits_with_10(llm: Llm, tmp_path: Path) -> None:
    """What was streamed stays; in JSON there is an error and no half answer."""
    cut = ("run", "tiny", "hi", "--regex", "[ab]{50}", "-n", "5")
    result = llm.run(*cut)
    assert result.code == 10
    assert re.fullmatch("[ab]+\n", result.text), result
    lines = result.stderr.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "hint"], result
    assert_error(llm.run(*cut, "--json"), 10, "after 5 tokens", as_json=True)
    kept = tmp_path / "out.txt"
    assert llm.run(*cut, "-o", kept).code == 10
    assert re.fullmatch("[ab]+\n", kept.read_text())


def test_reasoning_never_reaches_standard_output(llm: Llm, tmp_path: Path) -> None:
    """A model that reasons up to its limit has not answered."""
    path = ggufs.write(tmp_path / "m.gguf", template=ggufs.TEMPLATE + "<think>\n")
    result = llm.run("run", path, "hi", "--regex", "yes", "-n", "20", "--temp", "2")
    assert result.code == 10
    assert result.stdout == b"\n"
    assert "the reasoning" in result.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--schema", '{"type": "string'), "line 1, column 10"),
        (("--schema", '{"properties": {"a": {"uniqueItems": true}}}'), "#/properties/a"),
        (("--schema", "no-such-file.json"), "cannot read no-such-file.json"),
        (("--schema", "/"), "cannot read /"),
        (("--schema", "/dev/zero"), "more than"),
        (("--schema", b'{"const": "\xff"}'), "UTF-8"),
        (("--format", "xml"), "json is the only one"),
        (("--regex", "a("), "unclosed group"),
        (("--regex", "x" * 100_000 + "("), "unclosed group"),
        (("--grammar", "no-such-file.gbnf"), "cannot read no-such-file.gbnf"),
        (("--grammar", "start: foo"), "unknown name"),
        (("--grammar", "root ::= foo"), "Rule 'foo' not found"),
        (("--regex", "a", "--format", "json"), "both --format and --regex"),
        (("--schema", "{}", "--grammar", 'start: "a"'), "both --schema and --grammar"),
        (("--regex", "a", "--ignore-eos"), "--ignore-eos"),
    ],
)
def test_what_cannot_be_is_refused_before_a_model_is_looked_for(
    llm: Llm, options: tuple[str | bytes, ...], words: str
) -> None:
    """Exit 2, in two lines; nothing is fetched or loaded."""
    assert_error(llm.run("run", "no-such-model", "hi", *options), 2, words)
    assert_error(llm.run("run", "no-such-model", "hi", "--json", *options), 2, words, as_json=True)


def test_a_dry_run_names_it(llm: Llm) -> None:
    """Among the settings."""
    result = llm.run("run", "tiny", "hi", "--regex", "a", "--dry-run", "--json")
    assert result.json["grammar"] == "regex"


def test_config_sets_none_of_them(llm: Llm) -> None:
    """They belong to a single call."""
    (llm.config / "config.toml").write_text('regex = "yes"\n', encoding="utf-8")
    assert_error(llm.run("run", "tiny", "hi"), 2, "config.toml sets 'regex'")
