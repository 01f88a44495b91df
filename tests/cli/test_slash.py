"""Commands of a conversation, over a model that says what it is told to."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from chat_fakes import FakeSession

from lokal.cli.slash import COMMANDS, arguments, take
from lokal.errors import LokalError, UsageError

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def session(tmp_path: Path) -> FakeSession:
    """After one turn."""
    session = FakeSession(tmp_path, ["One.", "Two.", "Three."], seed=1)
    session.ask("first")
    return session


def refusal(session: FakeSession, text: str) -> str:
    """The error's line and hint; the conversation is as it was."""
    before = session.dialogue.messages
    with pytest.raises(LokalError) as caught:
        take(session, text)
    assert session.dialogue.messages == before
    return f"{caught.value.message} | {caught.value.hint}"


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("hello", "hello"),
        ("  hello \n", "hello"),
        ("//etc", "/etc"),
        ('"""\n/etc\n"""', "/etc"),
        ("5 / 2", "5 / 2"),
    ],
)
def test_what_is_no_command_is_sent(session: FakeSession, typed: str, sent: str) -> None:
    """Two slashes, or quotes, make a message of what looks like a command."""
    take(session, typed)
    assert session.contents[-2:] == [sent, "Two."]


@pytest.mark.parametrize("typed", ["", "  \n", '""""""'])
def test_nothing_is_nothing(session: FakeSession, typed: str) -> None:
    """A blank line is not sent."""
    take(session, typed)
    assert len(session.requests) == 1


def test_unknown_commands(session: FakeSession) -> None:
    """With what was meant, and how to send it if it was a message."""
    assert "did you mean /regen" in refusal(session, "/regn")
    assert "begins with two" in refusal(session, "/usr/bin/python is what?")


@pytest.mark.parametrize("name", ["/bye", "/exit", "/quit"])
def test_leaving(session: FakeSession, name: str) -> None:
    """By any name."""
    with pytest.raises(EOFError):
        take(session, name)


def test_help_lists_every_command(session: FakeSession, capsys: Capture) -> None:
    """But second names."""
    take(session, "/help")
    shown = capsys.readouterr().err
    assert all(name in shown for name, command in COMMANDS.items() if command.help)


def test_clear_keeps_the_system_text(session: FakeSession) -> None:
    """And forgets what was to go with the next message."""
    session.dialogue.system = "Be brief."
    session.attached.append("a file")
    take(session, "/clear")
    assert session.contents == ["Be brief."]
    assert session.attached == []


def test_system(session: FakeSession, tmp_path: Path, capsys: Capture) -> None:
    """Shown, changed, taken from a file, of several lines, removed."""
    take(session, "/system")
    assert "there is no system text" in capsys.readouterr().err
    take(session, '/system """Be\nbrief."""')
    assert session.contents[0] == "Be\nbrief."
    (tmp_path / "persona").write_text("Be kind.\n")
    take(session, f"/system @{tmp_path}/persona")
    assert session.contents[0] == "Be kind."
    assert "cannot read" in refusal(session, "/system @nowhere")
    take(session, '/system ""')
    assert session.roles[0] == "user"


@pytest.mark.parametrize(
    ("typed", "name", "value"),
    [
        ("temp 0.5", "temperature", 0.5),
        ("--temp 0", "temperature", 0),
        ("top-k=3", "top_k", 3),
        ("stop 'a b' c", "stop", ("a b", "c")),
        ("max_tokens 9", "max_tokens", 9),
        ("ignore_eos on", "ignore_eos", True),
        ("ignore_eos off", "ignore_eos", False),
    ],
)
def test_set(session: FakeSession, typed: str, name: str, value: object) -> None:
    """By the names of the command line; `default` takes it back."""
    take(session, f"/set {typed}")
    session.ask("more")
    assert getattr(session.requests[-1].params, name) == value
    take(session, f"/set {name} default")
    assert name not in session.sampling


def test_set_seed_begins_anew(session: FakeSession) -> None:
    """The next answer has that very seed."""
    take(session, "/set seed 40")
    take(session, "/regen")
    take(session, "/regen")
    assert [request.seed for request in session.requests] == [1, 40, 41]


def test_set_shows_what_is_in_force(session: FakeSession, capsys: Capture) -> None:
    """All, or one; what was changed is marked."""
    take(session, "/set temp 0.5")
    capsys.readouterr()
    take(session, "/set")
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.endswith("(set)")] == ["temperature       0.5  (set)"]
    assert any(line.startswith("seed ") for line in lines)
    take(session, "/set top_k")
    assert capsys.readouterr().err == "top_k 40\n"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("tmperature 1", "did you mean temperature?"),
        ("xyzzy 1", "/set shows them all"),
        ("temp hot", "give a number"),
        ("temp 1000", "between 0 and 100"),
        ("top_k 1.5", "give a whole number"),
        ("ignore_eos maybe", "on or off"),
        ("stop 'a", "texts"),
        ("stop ''", "none of them empty"),
        ("seed -1", "between"),
        ("seed default", "give a number"),
        ("think on", "/model"),
        ("think off", "/set reasoning_budget 0"),
        ("reasoning_budget 3", "/model"),
        ("reasoning_budget -1", "reasoning_budget"),
    ],
)
def test_set_refuses(session: FakeSession, typed: str, words: str) -> None:
    """And what is in force stays."""
    before = (dict(session.sampling), session.seed, session.form)
    assert words in refusal(session, f"/set {typed}")
    assert (session.sampling, session.seed, session.form) == before


def test_regen_and_undo(session: FakeSession) -> None:
    """Another answer in the place of the last; the turn taken back."""
    take(session, "/regen")
    assert session.contents == ["first", "Two."]
    take(session, "/undo")
    assert session.contents == []
    assert "nothing to undo" in refusal(session, "/undo")
    assert "no message yet" in refusal(session, "/regen")


def test_undo_takes_back_what_was_read_first(session: FakeSession, tmp_path: Path) -> None:
    """It is what was done last, and might be too long to be sent."""
    path = tmp_path / "notes"
    path.write_text("A fox.")
    take(session, f"/read {path}")
    take(session, "/undo")
    assert (session.contents, session.attached) == (["first", "One."], [])


def test_save_and_load(session: FakeSession, tmp_path: Path, capsys: Capture) -> None:
    """Plain JSON, quoted names, a list from elsewhere that waits for its answer."""
    path = tmp_path / "my talk.json"
    take(session, f"/save {path}")
    assert json.loads(path.read_text()) == {
        "model": "fake",
        "messages": session.dialogue.messages,
    }
    take(session, f'/save "{path}"')  # over itself
    take(session, "/clear")
    take(session, f"/load {path}")
    assert session.contents == ["first", "One."]
    path.write_text('[{"role": "user", "content": "well?"}]')
    capsys.readouterr()
    take(session, f"/load {path}")
    assert "/regen" in capsys.readouterr().err
    take(session, "/regen")
    assert session.contents == ["well?", "Two."]


def test_save_replaces_nothing_but_conversations(session: FakeSession, tmp_path: Path) -> None:
    """A model would be a loss."""
    path = tmp_path / "weights.gguf"
    path.write_bytes(b"GGUF")
    assert "no conversation" in refusal(session, f"/save {path}")
    assert "cannot write" in refusal(session, f"/save {tmp_path}/no/where")
    assert "cannot write" in refusal(session, f"/save {tmp_path}")
    assert "no file name" in refusal(session, "/save")
    assert path.read_bytes() == b"GGUF"
    assert [p.name for p in tmp_path.iterdir()] == ["weights.gguf"]


def test_what_can_be_no_file_name_is_refused(session: FakeSession, tmp_path: Path) -> None:
    """Too long, with a zero byte, a link to itself, the root: whatever the command."""
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for command in ("/read ", "/save ", "/load ", "/system @"):
        for name in ("x" * 300, str(loop), "/"):
            assert f"{name}: " in refusal(session, command + name)
        for name in ("a\0b", "~a\0b"):
            assert f"{name!r} is no file name" in refusal(session, command + name)
    assert loop.is_symlink()


def test_a_name_as_long_as_can_be(session: FakeSession, tmp_path: Path) -> None:
    """Is written like any other."""
    path = tmp_path / ("x" * 255)
    take(session, f"/save {path}")
    take(session, f"/load {path}")
    assert session.contents == ["first", "One."]


def test_save_keeps_who_may_read(session: FakeSession, tmp_path: Path) -> None:
    """Of a file that is there; a new one is as the umask has it."""
    path, new = tmp_path / "talk.json", tmp_path / "new.json"
    before = os.umask(0o022)
    try:
        take(session, f"/save {new}")
        for mode in (0o600, 0o666):
            path.write_text('[{"role": "user", "content": "well?"}]')
            path.chmod(mode)
            take(session, f"/save {path}")
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)
    assert stat.S_IMODE(new.stat().st_mode) == 0o644


@pytest.mark.parametrize("text", ["h\udce9i", "\ud800 \\", "né 你好 \\udce9 😀\x7f"])
def test_saved_and_loaded_it_is_the_same(session: FakeSession, tmp_path: Path, text: str) -> None:
    """Bytes that are not UTF-8, and half characters of a file, included."""
    session.ask(text)
    for _ in range(2):
        take(session, f"/save {tmp_path}/talk.json")
        take(session, f"/load {tmp_path}/talk.json")
        assert session.contents == ["first", "One.", text, "Two."]
    assert "你" not in text or "你好" in (tmp_path / "talk.json").read_text()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"messages": 3}', "\xff", "[" * 100000])
def test_load_refuses(session: FakeSession, tmp_path: Path, text: str) -> None:
    """And names the file."""
    path = tmp_path / "talk.json"
    path.write_text(text, "latin-1")
    assert str(path) in refusal(session, f"/load {path}")
    assert "cannot read" in refusal(session, "/load nowhere")


def test_read(session: FakeSession, tmp_path: Path) -> None:
    """With a question now, without one with the next message; names may have blanks."""
    path = tmp_path / "my notes.txt"
    path.write_text("A fox.\n")
    take(session, f"/read {path} What is it?")
    assert session.contents[-2] == "What is it?\n\nA fox."
    take(session, f"/read {path}")
    take(session, f"/read '{path}'")
    assert len(session.requests) == 2
    take(session, "And now?")
    assert session.contents[-2] == "And now?\n\nA fox.\n\nA fox."
    take(session, "And then?")
    assert session.contents[-2] == "And then?"
    long = " and so on" * 100
    take(session, f"/read {path} What{long}?")
    assert session.contents[-2] == f"What{long}?\n\nA fox."
    path.write_text("")
    assert "is empty" in refusal(session, f"/read {path}")
    assert "cannot read" in refusal(session, "/read nowhere at all")
    assert "no file name" in refusal(session, "/read")


def test_model(session: FakeSession, tiny: Path, capsys: Capture) -> None:
    """Named, changed, or not."""
    take(session, "/model")
    assert capsys.readouterr().err == "fake answers\n"
    take(session, f"/model {tiny}")
    assert str(tiny) in capsys.readouterr().err
    assert "did you mean" in refusal(session, "/model tinny")


def test_tokens(session: FakeSession, capsys: Capture) -> None:
    """Of each message, of the template, of all."""
    session.ask("two words")
    take(session, "/tokens")
    lines = [line.split() for line in capsys.readouterr().err.splitlines()]
    assert lines[:4] == [
        ["1", "user", "first"],
        ["1", "assistant", "One."],
        ["2", "user", "two", "words"],
        ["1", "assistant", "Two."],
    ]
    assert lines[4:] == [["4", "template"], ["9", "of", "1000"]]
    take(session, "/clear")
    capsys.readouterr()
    take(session, "/tokens")
    assert capsys.readouterr().err.split() == ["0", "of", "1000"]


def test_what_can_be_completed() -> None:
    """Paths, options and models, where they may stand."""
    assert arguments("/read", "a/b").path == "a/b"
    assert arguments("/system", "@a").path == "a"
    assert arguments("/system", "a").path is None
    assert "top_k" in arguments("/set", "to").choices
    assert "tiny" in arguments("/model", "ti").choices
    assert arguments("/bye", "x") == (None, ())


def test_every_error_has_a_hint(session: FakeSession) -> None:
    """So has the one for a command without its argument."""
    for text in ("/load", "/save", "/read", "/nothing", "/set x"):
        with pytest.raises(UsageError) as caught:
            take(session, text)
        assert caught.value.hint
