"""The pages tell the truth.

Convention: a block ```console holds lines `$ COMMAND` that are run, in order, in an empty
directory, and must succeed without network; lines below a command are lines of what it prints.
What cannot be run so (it needs weights or a network) stands in a block ```sh.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command import Llm, Result

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND_PAGES = sorted((ROOT / "docs" / "commands").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*(?![\w-])")
# Variables that are no option's.
DIRECTORIES = {"LOKAL_CONFIG_DIR", "LOKAL_STATE_DIR"}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def code_in(page: Path) -> list[str]:
    """Inline code, and the lines of shell blocks."""
    text = page.read_text(encoding="utf-8")
    blocks = [body for kind, body in BLOCK.findall(text) if kind in ("console", "sh")]
    inline = re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))
    return [*inline, *(line for block in blocks for line in block.splitlines())]


def options_in(text: str) -> set[str]:
    """Options named in a text; -vv is -v."""
    return {re.sub(r"^-(\w)\1+$", r"-\1", option) for option in OPTION.findall(text)}


@pytest.fixture
def llm(tmp_path: Path) -> Llm:
    return Llm(tmp_path)


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Every verb and the options of its --help."""
    llm = Llm(tmp_path_factory.mktemp("help"))
    listed = llm.run("--help").text.partition("Commands:")[2]
    return {
        line.split()[0]: _options_of(llm, line.split()[0]) for line in listed.split("\n") if line
    }


def _options_of(llm: Llm, *verb: str) -> set[str]:
    """Those of the verbs below it, such as `models add`, included."""
    listed = llm.run(*verb, "--help").text.partition("\nOptions:")[2]
    listed, _, below = listed.partition("\nCommands:")
    heads = re.findall(r"^  (-.*?)(?:  |$)", listed, re.MULTILINE)
    found = {option for head in heads for option in OPTION.findall(head.split(" <")[0])}
    return found.union(
        *(_options_of(llm, *verb, name) for name in re.findall(r"^  (\w+)", below, re.MULTILINE))
    )


def test_every_verb_has_its_page(options: dict[str, set[str]]) -> None:
    """One page a verb, one verb a page."""
    assert {page.stem for page in COMMAND_PAGES} == set(options)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_verbs_named_on_a_page_exist(options: dict[str, set[str]], page: Path) -> None:
    """No page sends anybody to a verb that is not there."""
    named = {verb for code in code_in(page) for verb in re.findall(r"\bllm ([a-z]\w*)", code)}
    assert named <= {*options, "list"}


@pytest.mark.parametrize("page", COMMAND_PAGES, ids=name_of)
def test_a_command_page_has_the_options_of_help(options: dict[str, set[str]], page: Path) -> None:
    """Each option is explained, and each that is explained exists."""
    assert {option for code in code_in(page) for option in options_in(code)} == options[page.stem]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_options_in_examples_exist(options: dict[str, set[str]], page: Path) -> None:
    """Examples on every page use options that the verb has."""
    for line in code_in(page):
        for verb, rest in re.findall(r"\bllm ([a-z]\w*)([^|]*)", line):
            assert options_in(re.sub(r'"[^"]*"', "", rest)) <= options.get(verb, set()), line


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_variables_exist(options: dict[str, set[str]], page: Path) -> None:
    """A variable LOKAL_X is the option --x of some verb, or a directory."""
    flags = set[str]().union(*options.values())
    known = {"LOKAL_" + flag.strip("-").replace("-", "_").upper() for flag in flags}
    named = set(re.findall(r"\bLOKAL_[A-Z_]*[A-Z]", page.read_text(encoding="utf-8")))
    assert named <= known | DIRECTORIES


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links name files of the repository."""
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def examples() -> list[tuple[Path, str, list[str]]]:
    """Pages, commands and the lines of output shown below them."""
    found: list[tuple[Path, str, list[str]]] = []
    for page in PAGES:
        for kind, body in BLOCK.findall(page.read_text(encoding="utf-8")):
            if kind != "console":
                continue
            for line in body.splitlines():
                if line.startswith("$ "):
                    found.append((page, line.removeprefix("$ "), []))
                else:
                    found[-1][2].append(line)
    return found


@pytest.mark.parametrize(
    ("page", "command", "output"),
    examples(),
    ids=[f"{name_of(page)}: {command}" for page, command, _ in examples()],
)
def test_an_example_runs(llm: Llm, page: Path, command: str, output: list[str]) -> None:
    """It succeeds, and prints the lines that the page shows."""
    result: Result = llm.shell(f"cd {llm.home} && {command}")
    assert result.code == 0, (page, result)
    assert set(output) <= set(result.text.splitlines()), (page, result)


def test_every_command_page_has_an_example() -> None:
    """The convention is in use."""
    assert {page for page, _, _ in examples()} >= set(COMMAND_PAGES)
