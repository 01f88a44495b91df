"""`llm chat` at a terminal, as a person meets it."""

from __future__ import annotations

import json
import signal
import stat
from pathlib import Path

import ggufs
import pytest
from command import Llm
from person import CTRL_D, UP, Person, pasted

ENDLESS = ("--ignore-eos", "--temp", "0")


def test_a_conversation(llm: Llm) -> None:
    """A banner, answers that stream, Ctrl-D; the terminal is as it was."""
    with Person(llm, "chat", "tiny", "--seed", "1", "-n", "20") as person:
        banner = person.prompted()
        for word in ("tiny", "Q8_0", "MIT", "1024", "/help"):
            assert word in banner
        assert len(person.say("Tell me a story about a fox")) > 20
        assert len(person.say("Tell me another story")) > 20
        person.press(CTRL_D)
        assert person.leave() == 0


def test_run_without_a_prompt_is_the_same(llm: Llm) -> None:
    """And its options are in force."""
    with Person(llm, "run", "tiny", "--temp", "0.125") as person:
        assert "/help" in person.prompted()
        assert "0.125" in person.say("/set temp")


def test_every_command(llm: Llm, tmp_path: Path) -> None:
    """Each shows what it did, and the conversation goes on."""
    talk, notes = tmp_path / "talk.json", tmp_path / "my notes.txt"
    notes.write_text("A fox is red.\n")
    with Person(llm, "chat", "tiny", "--seed", "1", "-n", "12") as person:
        person.prompted()
        assert "/regen" in person.say("/help")
        assert "Be brief." in person.say("/system Be brief.")
        assert "top_k 7" in person.say("/set top_k 7")
        story = person.say("Tell me a story")
        assert story not in person.say("/regen")
        assert "Tell me a story" in person.say("/tokens")
        assert "MIT License" in person.say("/show")
        assert "3 messages" in person.say(f"/save {talk}")
        assert "Tell me a story" in person.say("/undo")
        assert "hint: " in person.say("/undo")
        assert "3 messages" in person.say(f"/load {talk}")
        assert "my notes.txt" in person.say(f"/read {notes}")
        person.say("What is red?")
        person.say(f"/read {notes} And what else?")
        person.say("//etc is what?")
        asked = [m["content"] for m in person.saved(talk) if m["role"] == "user"]
        file = "A fox is red."
        assert asked[1:] == [
            f"What is red?\n\n{file}",
            f"And what else?\n\n{file}",
            "/etc is what?",
        ]
        assert "error: there is no model named 'tinny'" in person.say("/model tinny")
        assert "tiny answers" in person.say("/model tiny")
        assert "did you mean /help?" in person.say("/hlep")
        assert "empty" in person.say("/clear")
        assert "nothing to save" in person.say(f"/save {talk}")
        person.press("/bye\r")
        assert person.leave() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("writing", [False, True])
def test_a_signal_leaves_the_terminal_as_it_was(
    llm: Llm, endless: Path, number: signal.Signals, writing: bool
) -> None:
    """At the prompt, and in the middle of an answer."""
    with Person(llm, "chat", endless, *ENDLESS) as person:
        person.prompted()
        if writing:
            person.send("hello")
            person.until_match("[^\x1b]{40}")
        person.send_signal(number)
        person.until("\x1b[?2004l")
        assert person.leave() == -number


def test_a_bug_leaves_the_terminal_as_it_was(llm: Llm, tmp_path: Path) -> None:
    """An exception that nobody expects goes through to the end."""
    talk = tmp_path / "talk.json"
    talk.write_text('[{"role": "user", "content": "hi"}]')
    (tmp_path / "sitecustomize.py").write_text(
        "import lokal.dialogue as d\ndef broken(self): raise RuntimeError('broken')\n"
        "d.Dialogue.undo = broken\n"
    )
    path = f"{tmp_path}:{llm.environ()['PYTHONPATH']}"
    with Person(llm, "chat", "tiny", env={"PYTHONPATH": path}) as person:
        person.prompted()
        person.press("/undo\r")
        person.until("error: a bug in lokal")
        assert person.leave() == 1


def test_what_was_typed_comes_back_in_the_next_session(llm: Llm) -> None:
    """The Up key goes through it, but for whole books; the file is nobody else's."""
    with Person(llm, "chat", "tiny", "-n", "2") as person:
        person.prompted()
        person.say("/set seed 54321")
        person.say(pasted("a book " * 2000))
        person.press(CTRL_D)
        assert person.leave() == 0
    assert b"a book" not in (llm.home / "state" / "chat_history").read_bytes()
    for path in (llm.home / "state").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with Person(llm, "chat", "tiny") as person:
        person.prompted()
        person.press(UP)
        person.until_drawn("54321")


def test_a_history_on_a_full_disk(llm: Llm) -> None:
    """Is said once; what was typed is there until the end."""
    with Person(llm, "chat", "tiny", "-n", "2", file_size=0) as person:
        person.prompted()
        assert "note: cannot add to the history: " in person.say("/set seed 54321")
        for _ in range(2):
            assert "note: cannot add" not in person.say("hello")
        person.press(f"{UP}{UP}{UP}")
        person.until_drawn("54321")
        assert "seed 54321" in person.say("")
        person.press(CTRL_D)
        assert person.leave() == 0


def test_bytes_that_are_not_utf8(llm: Llm, tmp_path: Path) -> None:
    """Are asked, answered, saved and loaded like any others."""
    talk = tmp_path / "talk.json"
    with Person(llm, "chat", "tiny", "-n", "3") as person:
        person.prompted()
        assert "error" not in person.say("h\udce9i")
        assert person.contents(talk)[0] == "h\udce9i"
        assert "loaded 2 messages" in person.say(f"/load {talk}")
        assert "error" not in person.say("and more")
        assert person.contents(talk)[::2] == ["h\udce9i", "and more"]
        person.press(CTRL_D)
        assert person.leave() == 0


def test_no_history_leaves_nothing(llm: Llm) -> None:
    """Neither what was typed nor the conversation."""
    with Person(llm, "chat", "tiny", "-n", "2", "--no-history") as person:
        person.prompted()
        person.say("a secret")
        person.press(CTRL_D)
        assert person.leave() == 0
    state = llm.home / "state"
    assert not any(b"secret" in path.read_bytes() for path in state.rglob("*") if path.is_file())


def test_continue(llm: Llm, llama: Path) -> None:
    """The last conversation goes on, and says whose it was."""
    with Person(llm, "chat", "tiny", "-n", "4", "-s", "Be brief.") as person:
        person.prompted()
        person.say("hello")
        person.say("and more")
        person.press(CTRL_D)
        assert person.leave() == 0
    kept = llm.home / "state" / "conversation.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    with Person(llm, "chat", llama, "-n", "4", "--continue") as person:
        shown = person.prompted()
        for word in ("2 turns with tiny", "llama.gguf"):
            assert word in shown
        person.say("third")
        asked = [m["content"] for m in json.loads(kept.read_text())["messages"]]
        assert asked[:2] == ["Be brief.", "hello"]
        assert asked[5] == "third"


def test_answers_to_a_file(llm: Llm, tmp_path: Path) -> None:
    """The prompt has its place on standard error; the file has the answers and nothing else."""
    path = tmp_path / "out.txt"
    with path.open("wb") as file, Person(llm, "chat", "tiny", stdout=file.fileno()) as person:
        person.prompted()
        assert person.say("Hello") == ""
        person.say("/set seed 7")
        person.press(CTRL_D)
        assert person.leave() == 0
    answers = path.read_bytes()
    assert answers.count(b"\n") == 1
    assert answers.endswith(b"\n")
    assert b"\x1b" not in answers
    assert len(answers) > 5


def test_notes_to_a_file(llm: Llm, tmp_path: Path) -> None:
    """The prompt is then on standard output; what commands show is in the file."""
    path = tmp_path / "err.txt"
    with path.open("wb") as file, Person(llm, "chat", "tiny", stderr=file.fileno()) as person:
        person.prompted()
        assert len(person.say("Hello")) > 5
        person.say("/set seed 7")
        person.press(CTRL_D)
        assert person.leave() == 0
    assert "seed 7" in path.read_text()
    assert "\x1b" not in path.read_text()


def test_markdown_is_drawn(llm: Llm) -> None:
    """A list as one; what is kept is what the model wrote."""
    with Person(llm, "chat", "tiny", "--temp", "0") as person:
        person.prompted()
        assert person.say("List three animals").startswith("1. ")
    with Person(llm, "chat", "tiny", "--temp", "0", "--markdown") as person:
        person.prompted()
        assert person.say("List three animals").startswith(" 1 ")
        assert "1. " in person.say("/tokens")


def test_errors_in_a_turn_leave_the_conversation_usable(llm: Llm, tmp_path: Path) -> None:
    """A message that is too long; a template that refuses."""
    path = ggufs.write(tmp_path / "raising.gguf", template=ggufs.RAISING_TEMPLATE)
    talk = tmp_path / "talk.json"
    twice = [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]
    talk.write_text(json.dumps(twice))
    with Person(llm, "chat", path, "-n", "3") as person:
        person.prompted()
        assert "512" in person.say(pasted("word " * 3000))
        person.say("hello")
        assert "1 message" not in person.say("/tokens")
        person.say(f"/load {talk}")
        assert "error: the chat template refuses" in person.say("three")
        person.say("/clear")
        person.say("hello")
        assert len(person.contents(tmp_path / "new.json")) == 2
