"""The verbs beside `run`: the way in, help, lists, and completion."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import ggufs
import pytest
from command import Llm

import lokal

VERBS = (
    *("run", "chat", "batch", "pull", "ls", "show", "rm", "verify", "prune"),
    *("doctor", "bench", "models"),
)


def cache(llm: Llm, path: Path, repo: str = "owner/repo", file: str = "x-Q4_K_M.gguf") -> Path:
    """Put a file where the Hugging Face tools would have."""
    folder = llm.cache / "hub" / f"models--{repo.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    return Path(shutil.copy(path, snapshot / file))


def test_alone_it_shows_a_page_with_three_examples(llm: Llm) -> None:
    """`llm` says what it is for, and how to go on."""
    result = llm.run()
    assert (result.code, result.stderr) == (0, "")
    examples = [line for line in result.text.splitlines() if line.startswith("  ")]
    assert len(examples) == 3
    assert all("llm " in line for line in examples)
    assert "llm --help" in result.text
    assert len(result.text.splitlines()) < 12


@pytest.mark.parametrize("verb", [(), *((verb,) for verb in VERBS), ("list",)])
def test_help(llm: Llm, verb: tuple[str, ...]) -> None:
    """Every verb explains every option of its own, on stdout."""
    result = llm.run(*verb, "--help")
    assert (result.code, result.stderr) == (0, "")
    assert result.text.startswith(f"Usage: {' '.join(('llm', *verb))} ")
    assert "--help" in result.text
    # Aligned text without holes: an option without a description would end its line.
    options = [line for line in result.text.splitlines() if line.startswith("  -")]
    assert options
    assert all(len(line.split(None, 1)) == 2 for line in options)


def test_help_lists_the_verbs(llm: Llm) -> None:
    """`llm --help` has them all, with a sentence each; the alias is not repeated."""
    listed = llm.run("--help").text.partition("Commands:")[2].splitlines()
    assert [line.split()[0] for line in listed if line] == list(VERBS)
    assert all(len(line.split()) > 3 for line in listed if line)


def test_version(llm: Llm) -> None:
    """--version is the package's."""
    assert llm.run("--version").text == f"lokal {lokal.__version__}\n"


def test_ls_lists_what_is_here(llm: Llm, llama: Path) -> None:
    """The embedded model, and every GGUF file of the shared cache under a name that runs."""
    path = cache(llm, llama)
    items = llm.run("ls", "--json").json
    assert [item["name"] for item in items] == ["tiny", "hf.co/owner/repo:x-Q4_K_M.gguf"]
    mine = items[1]
    assert list(mine) == ["name", "quantization", "size", "license", "last_used", "path"]
    assert (mine["size"], mine["license"], mine["path"]) == (path.stat().st_size, "mit", str(path))
    table = llm.run("ls").text.splitlines()
    assert [line.split()[0] for line in table] == ["NAME", *(item["name"] for item in items)]
    assert llm.run("list").text.splitlines() == table
    result = llm.run("run", mine["name"], "hello", "-n", "2", "-q", "--offline")
    assert (result.code, result.stderr) == (0, "")


def test_ls_names_what_runs(llm: Llm, tmp_path: Path) -> None:
    """Shards are one model, projectors none; an old commit's file goes by its path; all run."""
    folder = cache(llm, ggufs.write(tmp_path / "x.gguf")).parent
    ggufs.write_split(folder / "big.gguf")
    shutil.copy(folder / "x-Q4_K_M.gguf", folder / "mmproj-x.gguf")
    (folder / "half-00001-of-00002.gguf").touch()
    old = folder.with_name("1" * 40) / "sub"
    old.mkdir(parents=True)
    shutil.copy(folder / "x-Q4_K_M.gguf", old / "x-Q4_K_M.gguf")
    items = {item["name"]: item for item in llm.run("ls", "--json").json}
    repo, outdated = "hf.co/owner/repo", str(old / "x-Q4_K_M.gguf")
    assert set(items) == {"tiny", f"{repo}:x-Q4_K_M.gguf", f"{repo}:big.gguf", outdated}
    shards = sorted(folder.glob("big-*"))
    assert items[f"{repo}:big.gguf"]["size"] == sum(shard.stat().st_size for shard in shards)
    for name in set(items) - {"tiny"}:
        assert llm.run("run", name, "hello", "-n", "1", "-q", "--offline").code == 0


def test_ls_survives_a_damaged_file(llm: Llm, tmp_path: Path) -> None:
    """One bad file in the cache does not hide the others."""
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF")
    cache(llm, bad)
    result = llm.run("ls", "--json")
    assert result.code == 0
    assert result.json[1]["quantization"] is None


def test_show_tells_licence_origin_and_sampling(llm: Llm) -> None:
    """What one wants to know before a download; nothing is claimed that only the file knows."""
    shown = llm.run("show", "mistral").text
    facts = dict(line.split(None, 1) for line in shown.splitlines())
    assert facts["license"] == "Apache License 2.0"
    assert facts["origin"] == "Mistral AI"
    assert facts["path"] == "not on this machine"
    assert "template" not in facts
    value = llm.run("show", "mistral", "--json").json
    assert value["path"] is None
    assert value["repo"] == facts["repo"]


def test_show_reads_the_file(llm: Llm, llama: Path) -> None:
    """For a file on this machine, what it says itself and its checksum."""
    value = llm.run("show", llama, "--json").json
    assert value["path"] == str(llama)
    assert value["sha256"] == hashlib.sha256(llama.read_bytes()).hexdigest()
    assert value["architecture"] == "llama"
    assert value["context"] == 4096
    assert "[INST]" in value["template"]
    facts = dict(line.split(None, 1) for line in llm.run("show", llama).text.splitlines())
    assert facts["template"] == "yes"
    assert facts["sampling"].startswith("temperature 0.8, ")


def test_show_the_embedded_model(llm: Llm, tiny: Path) -> None:
    """`tiny` has a licence, an origin and a file."""
    value = llm.run("show", "tiny", "--json").json
    assert value["path"] == str(tiny)
    assert value["license"] == "MIT License"
    assert value["sha256"] == hashlib.sha256(tiny.read_bytes()).hexdigest()


def test_models_lists_the_registry(llm: Llm) -> None:
    """Names that `run` takes; what is not open source says so; the overlay counts."""
    (llm.config / "models.toml").write_text(
        '[model.house]\ntitle = "House"\nrepo = "our/house-GGUF"\nfile = "house.{quant}.gguf"\n'
        'license = "MIT"\norigin = { name = "us" }\nconfidence = "seen"\n'
    )
    table = llm.run("models").text.splitlines()
    names = [line.split()[0] for line in table]
    assert {"NAME", "tiny", "mistral", "mixtral", "grok", "house"} <= set(names)
    assert names == ["NAME", *(entry["ref"] for entry in llm.run("models", "--json").json)]
    (grok2,) = (line for line in table if line.startswith("grok:2 "))
    assert grok2.endswith("(not open source)")


def complete(llm: Llm, line: str) -> list[str]:
    """What the Tab key offers in bash at the end of a line."""
    words = line.split(" ")
    env = {
        "_LLM_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    result = llm.run(env=env)
    assert (result.code, result.stderr) == (0, "")
    return result.text.split()


def test_completion(llm: Llm) -> None:
    """Verbs, options and the names of models, the user's own among them."""
    assert complete(llm, "llm mo") == ["models"]
    assert complete(llm, "llm run --see") == ["--seed"]
    assert {"mistral", "mixtral"} <= set(complete(llm, "llm run mi"))
    assert complete(llm, "llm show grok-2") == ["grok-2"]


@pytest.mark.parametrize("name", ["config.toml", "models.toml"])
def test_completion_survives_a_broken_file(llm: Llm, name: str) -> None:
    """The Tab key prints no errors into the line that is being typed."""
    (llm.config / name).write_text("x = = 1")
    assert complete(llm, "llm ru") == ["run"]
    assert complete(llm, "llm run ti") in ([], ["tiny"])


def test_the_completion_script_is_bash(llm: Llm) -> None:
    """What --show-completion prints can be sourced."""
    script = llm.run("--show-completion", "bash").text
    assert "complete " in script
    assert llm.shell(script + "\ncomplete -p llm").code == 0


def test_a_home_that_cannot_be_written_is_fine(llm: Llm, llama: Path) -> None:
    """Reading commands need no place of their own; missing directories are no error."""
    env = {"LOKAL_CONFIG_DIR": os.devnull, "LOKAL_STATE_DIR": f"{os.devnull}/x", "HF_HOME": "/x"}
    for args in (["models"], ["ls"], ["show", llama], ["run", llama, "x", "-n", "1", "-q"]):
        result = llm.run(*args, env=env)
        assert (result.code, result.stderr) == (0, "")
