"""`llm batch`: N rows in, N rows out."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from command import Llm, Result, Terminal, assert_error, finish

SHORT = ("-n", "3", "--ignore-eos", "-t", "1")
PROMPTS = ["A story about a fox", "Wozu Türen?", "Count to three,\nplease"]


def jsonl(*values: Any) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def rows(result: Result) -> list[dict[str, Any]]:
    """The rows on standard output, where nothing else stands."""
    assert not result.stdout or result.stdout.endswith(b"\n"), result
    found = [json.loads(line) for line in result.stdout.splitlines()]
    for row in found:
        assert row["finish_reason"] in ("stop", "length", "error"), row
        assert (row["text"] is None) == (row["finish_reason"] == "error"), row
    return found


def places(found: list[dict[str, Any]]) -> list[tuple[Any, int]]:
    return [(row["id"], row["index"]) for row in found]


MESSAGES = [
    {
        "id": n,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": p}],
    }
    for n, p in enumerate(PROMPTS)
]
OPENAI = [
    {
        "custom_id": f"request-{n}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "any", "messages": [{"role": "user", "content": prompt}]},
    }
    for n, prompt in enumerate(PROMPTS)
]
TEMPLATE = ("--template", "Summarise: {text}")
FORMATS: dict[str, tuple[str, bytes, list[Any], tuple[str, ...]]] = {
    "strings as ids": (
        "x.jsonl",
        jsonl(*({"id": f"row {n} ✓", "prompt": p} for n, p in enumerate(PROMPTS))),
        [f"row {n} ✓" for n in range(3)],
        (),
    ),
    "numbers as ids": (
        "x.jsonl",
        jsonl(*({"id": 10**20 + n, "prompt": p} for n, p in enumerate(PROMPTS))),
        [10**20 + n for n in range(3)],
        (),
    ),
    "no ids": ("x.json", jsonl(*({"prompt": p} for p in PROMPTS)), [None] * 3, ()),
    "messages": ("x.ndjson", jsonl(*MESSAGES), [0, 1, 2], ()),
    "fields": (
        "x",
        jsonl(*({"id": n, "text": p} for n, p in enumerate(PROMPTS))),
        [0, 1, 2],
        TEMPLATE,
    ),
    "text": ("x.txt", b"A fox\nA wombat\r\nA heron", [None] * 3, ()),
    "CSV": (
        "x.csv",
        b'id,text\nx,A fox\n,"A\nwombat"\nz,"A ""heron"""\n',
        ["x", None, "z"],
        TEMPLATE,
    ),
    "OpenAI": ("x.jsonl", jsonl(*OPENAI), ["request-0", "request-1", "request-2"], ()),
}


@pytest.mark.parametrize("form", FORMATS)
def test_a_row_for_every_row_of_a_file(llm: Llm, form: str) -> None:
    """In order and with its id, whatever the format."""
    name, data, ids, options = FORMATS[form]
    path = llm.home / name
    path.write_bytes(data)
    result = llm.run("batch", "tiny", path, *SHORT, *options)
    assert result.code == 0, result
    found = rows(result)
    assert places(found) == [(id_, n) for n, id_ in enumerate(ids)]
    assert [row["usage"]["completion_tokens"] for row in found] == [3, 3, 3]


@pytest.mark.parametrize("form", ["no ids", "fields", "text", "OpenAI"])
def test_a_pipe_is_as_good_as_a_file(llm: Llm, form: str) -> None:
    """A pipe has no name; the format is known by how it begins."""
    name, data, ids, options = FORMATS[form]
    path = llm.home / name
    path.write_bytes(data)
    seed = ("--seed", "1", "-j", "1")
    piped = llm.shell(
        f'cat "$1" | llm batch tiny "${{@:2}}" {" ".join(SHORT)}', path, *options, *seed
    )
    assert places(rows(piped)) == [(id_, n) for n, id_ in enumerate(ids)]
    named = llm.run("batch", "tiny", path, *SHORT, *options, *seed)
    assert [row["text"] for row in rows(piped)] == [row["text"] for row in rows(named)]


def test_csv_from_a_pipe_and_a_dash(llm: Llm) -> None:
    """Where nothing tells that it is CSV, an option does."""
    data = FORMATS["CSV"][1]
    result = llm.run("batch", "tiny", "-", "--input-format", "csv", *TEMPLATE, *SHORT, stdin=data)
    assert places(rows(result)) == [("x", 0), (None, 1), ("z", 2)]


def test_settings_of_a_row_have_the_effect_of_flags(llm: Llm) -> None:
    """One at a time, each answer is that of `llm run` with the same settings."""
    prompt = "Tell me a story about a fox"
    settings: list[tuple[dict[str, Any], tuple[str, ...]]] = [
        ({}, ()),
        ({"max_tokens": 2}, ("-n", "2")),
        ({"seed": 7}, ("--seed", "7")),
        ({"temperature": 0}, ("--temp", "0")),
        ({"stop": [" a", "the"]}, ("--stop", " a", "--stop", "the")),
        ({"system": "2+2=4"}, ("-s", "2+2=4")),
        ({"top_k": 1}, ("--top-k", "1")),
    ]
    common = ("--seed", "5", "-n", "12", "-t", "1", "-q")
    data = jsonl(*({"prompt": prompt, **row} for row, _ in settings))
    found = rows(llm.run("batch", "tiny", *common, "-j", "1", stdin=data))
    plain = found[0]["text"]
    for row, (_, flags) in zip(found, settings, strict=True):
        single = llm.run("run", "tiny", prompt, "--json", *common, *flags).json
        for key in ("text", "seed", "finish_reason", "model", "weights"):
            assert row[key] == single[key], flags
        assert row["usage"] == single["usage"]
        assert not flags or row["text"] != plain, flags


def test_broken_rows_become_error_rows(llm: Llm) -> None:
    """Each with its line number; the others go on; exit 11."""
    long = "fox " * 300
    lines = [
        '{"id": "good", "prompt": "A fox"}',
        '{"id": "broken", "prompt": ',
        "",
        '{"id": "empty", "text": "A fox"}',
        json.dumps({"id": "long", "prompt": long}),
        '{"id": "hot", "prompt": "A fox", "temperature": 1e9}',
        '{"id": "typed", "prompt": "A fox", "max_tokens": "5"}',
        '{"id": [1], "prompt": "A fox"}',
        '{"id": "last", "prompt": "A fox"}',
    ]
    result = llm.run("batch", "tiny", "-c", "256", *SHORT, stdin="\n".join(lines).encode())
    assert result.code == 11
    found = rows(result)
    assert places(found) == [
        *(("good", 0), (None, 1), ("empty", 2), ("long", 3), ("hot", 4), ("typed", 5)),
        *((None, 6), ("last", 7)),
    ]
    errors = [row.get("error", {}).get("message", "") for row in found]
    wanted = [
        "",
        "line 2: broken JSON",
        "line 4: no prompt",
        "line 5: the prompt has 3",
        "line 6: temperature is 1000000000.0",
        "line 7: max_tokens is '5'",
        "line 8: the id is neither",
        "",
    ]
    for error, start in zip(errors, wanted, strict=True):
        assert error.startswith(start), error
        assert bool(error) == bool(start), error
    assert [row["error"]["code"] for row in found[1:-1]] == [
        *["usage"] * 2,
        "context",
        *["usage"] * 3,
    ]
    told = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    assert [line.removeprefix("failed: ") for line in told] == errors[1:-1]
    assert "error: 6 of 8 rows failed" in result.stderr
    assert "Traceback" not in result.stderr


def test_many_failures_are_counted_not_told(llm: Llm) -> None:
    """Standard error stays readable."""
    result = llm.run("batch", "tiny", stdin=b"\n".join([b"{}"] * 200))
    assert result.code == 11
    assert len(rows(result)) == 200
    assert result.stderr.count("failed: ") == 10
    assert "further failures are only counted" in result.stderr
    assert "200 rows in " in result.stderr


def test_max_errors_ends_it(llm: Llm) -> None:
    data = jsonl({"id": 1, "prompt": "x"}, *[{}] * 9)
    result = llm.run("batch", "tiny", "--max-errors", "4", *SHORT, stdin=data)
    assert result.code == 11
    assert "more rows failed than --max-errors 4 allows" in result.stderr
    assert [row["finish_reason"] for row in rows(result)].count("error") == 5


def test_unordered_rows_come_as_they_finish(llm: Llm) -> None:
    """A long first row keeps nobody waiting; `index` tells where each belongs."""
    data = jsonl(
        {"id": "long", "prompt": "A fox", "max_tokens": 80},
        *({"id": n, "prompt": "A fox"} for n in range(4)),
    )
    options = ("-n", "2", "--ignore-eos", "-j", "2", "-t", "1")
    ordered = rows(llm.run("batch", "tiny", *options, stdin=data))
    assert places(ordered) == [("long", 0), *((n, n + 1) for n in range(4))]
    unordered = rows(llm.run("batch", "tiny", *options, "--unordered", stdin=data))
    assert unordered[-1]["id"] == "long"
    assert sorted(row["index"] for row in unordered) == [0, 1, 2, 3, 4]


def test_text_is_one_answer_a_line(llm: Llm) -> None:
    """Newlines in answers are escaped, a failed row is an empty line."""
    prompt = "Tell me a story about a fox"
    data = jsonl({"prompt": prompt, "seed": 0}, {"id": "broken"}, {"prompt": prompt, "seed": 2})
    args = ("batch", "tiny", "-n", "90", "-j", "1", "-t", "1")
    answers = [row["text"] for row in rows(llm.run(*args, stdin=data))]
    result = llm.run(*args, "--text", stdin=data)
    assert result.code == 11
    assert "\n" in answers[0]
    wanted = [(a or "").replace("\\", r"\\").replace("\n", r"\n") for a in answers]
    assert result.stdout.decode() == "".join(f"{line}\n" for line in wanted)


def test_limit_takes_the_first_rows(llm: Llm) -> None:
    data = jsonl(*({"id": n, "prompt": "A fox"} for n in range(9)))
    assert places(rows(llm.run("batch", "tiny", "--limit", "2", *SHORT, stdin=data))) == [
        (0, 0),
        (1, 1),
    ]


def test_a_sample_is_for_people(llm: Llm) -> None:
    """A few rows, the same ones every time, and nothing where the data goes."""
    data = jsonl(*({"id": f"r{n}", "prompt": f"Fox {n}"} for n in range(50)))
    path = llm.home / "out"
    args = ("batch", "tiny", "--sample", "3", *SHORT, "--temp", "0", "-o", path)
    result = llm.run(*args, stdin=data)
    assert (result.code, result.stdout) == (0, b"")
    heads = [line for line in result.stderr.splitlines() if line.startswith("--- line ")]
    assert len(heads) == 3
    assert result.stderr.count("\nuser: Fox ") == 3
    assert result.stderr.count("\nanswer (cut at the limit): ") == 3
    assert not path.exists()
    assert heads == [
        line for line in llm.run(*args, stdin=data).stderr.splitlines() if line.startswith("---")
    ]


def test_a_common_system_text_is_computed_once(llm: Llm) -> None:
    """However many rows begin with it; `cached_tokens` says so."""
    system = "You are a careful clerk. " * 20
    data = jsonl(*({"prompt": f"Question {n}"} for n in range(30)))
    found = rows(llm.run("batch", "tiny", "-s", system, *SHORT, stdin=data))
    usage = [row["usage"] for row in found]
    shared = min(row["cached_tokens"] for row in usage[1:])
    assert shared > 100
    assert usage[0]["cached_tokens"] == 0
    computed = sum(row["prompt_tokens"] - row["cached_tokens"] for row in usage)
    assert computed < usage[0]["prompt_tokens"] + 30 * 8


def test_no_rows_are_no_failure(llm: Llm) -> None:
    for name in ("empty", "empty.csv", "empty.jsonl"):
        path = llm.home / name
        path.touch()
        assert llm.run("batch", "tiny", path) == Result(b"", "", 0)
    assert llm.run("batch", "tiny", stdin=b"") == Result(b"", "", 0)
    assert llm.run("batch", "tiny", stdin=b"\n\n", env={}).code == 11  # two empty prompts


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("nowhere.jsonl",), 2, ["cannot read nowhere.jsonl: No such file"]),
        ((".",), 2, ["cannot read .: Is a directory"]),
        (("-j", "0"), 2, ["--parallel 0"]),
        (("-j", "225"), 2, ["--parallel 225", "from 1 to 224"]),
        (("-n", "0"), 2, ["max_tokens is 0"]),
        (("-c", "0"), 2, ["context"]),
        (("--limit", "0"), 2, ["--limit"]),
        (("--seed", "-1"), 2, ["seed is -1"]),
        (("--input-format", "xml"), 2, ["no input format 'xml'"]),
        (("--template", "no field"), 2, ["--template names no field"]),
        (("--retry-errors",), 2, ["without a file"]),
        (("-o", "missing/out"), 2, ["cannot write to missing/out"]),
        (("a.csv",), 2, ["no column 'prompt'"]),
        (("a.json",), 2, ["JSON array"]),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value),
)
def test_wrong_usage_is_told_in_two_lines(
    llm: Llm, args: tuple[str, ...], code: int, words: list[str]
) -> None:
    """And leaves nothing behind."""
    (llm.home / "a.csv").write_text("id,text\n1,x\n")
    (llm.home / "a.json").write_text('[{"prompt": "x"}]\n')
    before = sorted(path.name for path in llm.home.iterdir())
    result = llm.run("batch", "tiny", *args, stdin=b"hello\n", cwd=llm.home)
    assert_error(result, code, *words)
    assert sorted({path.name for path in llm.home.iterdir()} - {"state"}) == before


def test_an_unknown_model_is_told_before_anything_is_read(llm: Llm) -> None:
    with llm.start("batch", "tinny", stdin=subprocess.PIPE) as process:
        assert process.wait(30) == 3
        assert finish(process).stderr.startswith("error: there is no model named 'tinny'")


def test_nobody_types_rows_by_accident(llm: Llm) -> None:
    """At a terminal without INPUT it does not wait for ever."""
    with Terminal() as terminal, llm.start("batch", "tiny", stdin=terminal.slave) as process:
        assert_error(finish(process), 2, "there are no rows", "cat FILE | llm batch MODEL")


def test_standard_error_is_plain_where_nobody_sees_it(llm: Llm) -> None:
    """No escape codes, and with -q nothing at all."""
    data = jsonl(*({"prompt": f"Fox {n}"} for n in range(5)))
    env = {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}
    result = llm.run("batch", "tiny", *SHORT, "-v", stdin=data, env=env)
    assert "\x1b" not in result.stderr + result.text
    assert "5 rows in " in result.stderr
    assert "sequences of at most" in result.stderr
    assert llm.run("batch", "tiny", *SHORT, "-q", stdin=data).stderr == ""


@pytest.mark.parametrize("no_color", [False, True])
def test_a_bar_at_a_terminal(llm: Llm, no_color: bool) -> None:
    """It is drawn on standard error; the rows in a pipe know nothing of it."""
    path = llm.home / "rows"
    path.write_bytes(jsonl(*({"prompt": f"Fox {n}"} for n in range(20)), {}))
    with Terminal() as terminal:
        args = ("batch", "tiny", path, *SHORT)
        env = {"NO_COLOR": "1"} if no_color else {}
        with llm.start(*args, stderr=terminal.slave, env=env) as process:
            stdout, _ = process.communicate(timeout=60)
            shown = terminal.drain()
    assert process.returncode == 11
    assert len(rows(Result(stdout, "", 0))) == 21
    assert b"\x1b" not in stdout
    assert (b"\x1b[" in shown) != no_color
    assert b"failed: line 21: no prompt" in shown
    assert b"21 rows in " in shown


def test_the_environment_and_the_configuration_count(llm: Llm) -> None:
    data = jsonl({"prompt": "A fox"})

    def length(*args: str, **env: str) -> int:
        result = llm.run("batch", "tiny", "--ignore-eos", "-t", "1", *args, stdin=data, env=env)
        return int(rows(result)[0]["usage"]["completion_tokens"])

    (llm.config / "config.toml").write_text("max_tokens = 9\n[batch]\nmax_tokens = 4\n")
    assert length() == 4
    assert length(LOKAL_MAX_TOKENS="3") == 3
    assert length("-n", "2", LOKAL_MAX_TOKENS="3") == 2
    result = llm.run("batch", "tiny", stdin=data, env={"LOKAL_PARALLEL": "many"})
    assert_error(result, 2, "--parallel many")


def test_a_row_is_a_run(llm: Llm) -> None:
    """The same settings have the same fingerprint; a row has the keys of a run, and its own."""
    options = ("--temp", "0", "-n", "3", "-s", "Be brief.", "-c", "256", "--regex", "[a-z]+")
    single = llm.run("run", "tiny", "A fox", *options, "--json").json
    row = llm.run("batch", "tiny", *options, "-j", "1", "-q", stdin=b"A fox\n").json
    assert row.keys() - single.keys() == {"id", "index", "input_hash"}
    assert single.keys() <= row.keys()
    for key in ("fingerprint", "weights", "text", "finish_reason", "usage", "model"):
        assert row[key] == single[key]
