"""Flags, environment and config.toml: which of them counts, and for which verb."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import Llm, assert_error
from person import CTRL_D, Person

SILENT = [({}, "[chat]\nhistory = false"), ({"LOKAL_HISTORY": "0"}, "")]


@pytest.mark.parametrize(("env", "config"), SILENT)
def test_run_without_a_prompt_is_chat_with_all_its_settings(
    llm: Llm, env: dict[str, str], config: str
) -> None:
    """Who wants no history gets none this way either."""
    (llm.config / "config.toml").write_text(config)
    with Person(llm, "run", "tiny", "-n", "5", "--temp", "0", env=env) as person:
        assert "/help" in person.prompted()
        assert person.say("Hello")
        person.press(CTRL_D)
        assert person.leave() == 0
    left = [path.name for path in (llm.home / "state").rglob("*")]
    assert not {"chat_history", "conversation.json"} & {*left}


@pytest.mark.parametrize("flag", ["--truncate", "--json", "--raw", "--fail-on-length"])
def test_a_flag_that_chat_lacks_asks_for_a_prompt(llm: Llm, flag: str) -> None:
    """A conversation that left it out would not be what was asked for."""
    with Person(llm, "run", "tiny", flag) as person:
        person.until("hint:")
        assert person.leave() == 2


def test_a_flag_wins_over_what_is_set_elsewhere(llm: Llm, llama: Path) -> None:
    """Two flags that exclude each other are a mistake, a flag and a setting are none."""
    (llm.home / "system.txt").write_text("from the file")
    asked = ("run", llama, "hi", "--dry-run", "--json")
    by_file = ("--system-file", llm.home / "system.txt")
    assert "file" in llm.run(*asked, *by_file, env={"LOKAL_SYSTEM": "set"}).json["prompt"]
    set_by_file = {"LOKAL_SYSTEM_FILE": str(llm.home / "system.txt")}
    assert "typed" in llm.run(*asked, "-s", "typed", env=set_by_file).json["prompt"]
    assert_error(llm.run(*asked[:3], *by_file, "-s", "typed"), 2, "both --system and")
    (llm.config / "config.toml").write_text('system = "configured"')
    assert "file" in llm.run(*asked, *by_file).json["prompt"]
    (llm.config / "config.toml").write_text('[run]\nthink = true\nchat_template = "none.jinja"')
    assert llm.run(*asked, "--raw").json["prompt"] == "hi"
    assert_error(llm.run(*asked[:3], "--raw", "--think"), 2, "both --raw and --think")


@pytest.mark.parametrize(
    ("config", "hint"),
    [
        ("n = 2", "max_tokens"),
        ("[run]\nlogprobs = 2", "single call"),
        ("[run]\nmessages = 'x'", "single call"),
        ("[run]\ntemplate = 'x'", "chat_template"),
        ("[batch]\ntemplate = 'x'", "chat_template"),
        ("[bench]\nparallel = 2", "single call"),
        ("whatever = 1", "--help"),
    ],
)
def test_a_setting_under_another_name_is_told_its_own(llm: Llm, config: str, hint: str) -> None:
    """Flags and names differ where a flag would say too little."""
    (llm.config / "config.toml").write_text(config)
    assert_error(llm.run("run", "tiny", "hi"), 2, "config.toml sets", hint)
