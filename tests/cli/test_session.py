"""A conversation under way: what is sent, what is kept, what is said."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from chat_fakes import FAILED, REFUSED, STOPPED, UNBEGUN, FakeSession
from hypothesis import given
from hypothesis import strategies as st

from lokal.cli.markdown import Blocks
from lokal.cli.message import unfinished, unquoted
from lokal.cli.output import Sink
from lokal.cli.transcripts import read
from lokal.cli.views import Drawn
from lokal.engine.prompt import PromptOptions
from lokal.errors import ContextError, LoadError, LokalError, RefusedError, UsageError
from lokal.settings import Settings

Capture = pytest.CaptureFixture[str]


def test_each_turn_sends_all_before(tmp_path: Path) -> None:
    """System text, questions and answers, in order; reasoning stays out of what is sent."""
    session = FakeSession(tmp_path, ["I think</think>One.", "Two."], system="Be brief.")
    session.ask("first")
    session.ask("second")
    assert session.requests[-1].id == (
        "system: Be brief.\nuser: first\nassistant: One.\nuser: second"
    )
    assert session.dialogue.messages[2]["reasoning_content"] == "I think"
    assert session.shown.answers == ["One.", "Two."]


def test_every_answer_has_its_own_seed(tmp_path: Path) -> None:
    """All follow from the first, so that a session can be had again."""
    session = FakeSession(tmp_path, seed=7)
    session.ask("first")
    session.regen()
    session.ask("second")
    assert [request.seed for request in session.requests] == [7, 8, 9]


def test_ctrl_c_keeps_what_was_written(tmp_path: Path) -> None:
    """The half is the answer, and the next turn goes on from it."""
    session = FakeSession(tmp_path, [STOPPED, "Yes."])
    with pytest.raises(KeyboardInterrupt):
        session.ask("first")
    session.ask("second")
    assert session.contents == ["first", "Half an ans", "second", "Yes."]


def test_ctrl_c_before_an_answer_takes_the_message_back(tmp_path: Path) -> None:
    """There is no turn without an answer; of a second attempt the first one stays."""
    session = FakeSession(tmp_path, [UNBEGUN, "One.", UNBEGUN])
    with pytest.raises(KeyboardInterrupt):
        session.ask("first")
    assert session.contents == []
    session.ask("again")
    with pytest.raises(KeyboardInterrupt):
        session.regen()
    assert session.contents == ["again", "One."]


def test_what_the_template_refuses_is_not_kept(tmp_path: Path) -> None:
    """The conversation goes on without it."""
    session = FakeSession(tmp_path)
    session.ask("first")
    with pytest.raises(RefusedError):
        session.ask(REFUSED)
    assert session.contents == ["first", "Hello!"]


def test_a_full_context_drops_old_turns_and_says_so(tmp_path: Path, capsys: Capture) -> None:
    """Rarely, whole, and never the system text."""
    session = FakeSession(tmp_path, ["seven eight nine"], n_ctx=80, system="Be brief.")
    notes = []
    for n in range(30):
        session.ask(f"{n} two three four")
        notes.append("the context of 80 tokens is full" in capsys.readouterr().err)
        assert session.roles == ["system", *["user", "assistant"] * (len(session.roles) // 2)]
        assert len(session.requests[-1].tokens) <= 60
    assert 0 < sum(notes) < 15
    assert session.contents[-2] == "29 two three four"


@pytest.mark.parametrize("said", [UNBEGUN, FAILED, None])
def test_turns_go_only_for_an_answer(tmp_path: Path, capsys: Capture, said: str | None) -> None:
    """They stay where one is stopped, fails or is refused; nobody is told otherwise."""
    session = FakeSession(tmp_path, ["One."], n_ctx=80)
    for n in range(6):
        session.ask(f"{n} two three four")
    before = session.dialogue.messages
    session.said[:] = [said, "Two."] if said else ["Two."]
    if not said:
        session.sampling["reasoning_budget"] = 3
    long = "b " * 40
    with pytest.raises((KeyboardInterrupt, LokalError)):
        session.ask(long)
    assert session.dialogue.messages == before
    assert "dropped" not in capsys.readouterr().err
    session.sampling.clear()
    session.ask(long)
    assert len(session.contents) < len(before)
    assert "dropped the oldest" in capsys.readouterr().err


def test_what_is_lost_is_said_under_quiet_too(tmp_path: Path, capsys: Capture) -> None:
    """All other notes are not."""
    session = FakeSession(tmp_path, n_ctx=80, quiet=True)
    for n in range(20):
        session.ask(f"{n} two three four")
    assert "is full; dropped the oldest" in capsys.readouterr().err


@pytest.mark.parametrize("said", [UNBEGUN, FAILED])
def test_what_is_attached_waits_for_an_answer(tmp_path: Path, said: str) -> None:
    """A message that gets none does not use it up; a file that came with it goes with it."""
    session = FakeSession(tmp_path, [said, "One.", "Two."])
    session.attached.append("a file")
    with pytest.raises((KeyboardInterrupt, LoadError)):
        session.ask("first", "another file")
    assert session.attached == ["a file"]
    session.ask("second")
    session.ask("third")
    assert session.contents[::2] == ["second\n\na file", "third"]


def test_an_engine_that_fails(tmp_path: Path) -> None:
    """Before a word there is no answer; what was written until then is one."""
    session = FakeSession(tmp_path, ["One.", FAILED, "Half an" + FAILED], resume=True)
    session.ask("first")
    kept = tmp_path / "state" / "conversation.json"
    for expected in (["first", "One."], ["first", "One.", "second", "Half an"]):
        with pytest.raises(LoadError):
            session.ask("second")
        assert session.contents == expected
        assert [m["content"] for m in json.loads(kept.read_text())["messages"]] == expected


def test_no_shift_refuses_instead(tmp_path: Path) -> None:
    """With both numbers; after /undo there is room again."""
    session = FakeSession(tmp_path, ["a " * 30], n_ctx=80, shift=False)
    session.ask("first")
    with pytest.raises(ContextError, match=r"\b64\b.*\b80\b") as caught:
        session.ask("b " * 30)
    assert "/clear" in caught.value.hint
    assert len(session.contents) == 2
    session.dialogue.undo()
    session.ask("b " * 30)


def test_a_message_too_long_by_itself_is_refused(tmp_path: Path) -> None:
    """Nothing is dropped for it."""
    session = FakeSession(tmp_path, n_ctx=80)
    session.ask("first")
    with pytest.raises(ContextError, match=r"\b61\b.*\b80\b"):
        session.ask("b " * 60)
    session.ask("second")
    assert session.contents[::2] == ["first", "second"]


def test_max_tokens_is_the_room_for_an_answer(tmp_path: Path) -> None:
    """But at most half of the context, whatever was asked for."""
    session = FakeSession(tmp_path, n_ctx=80, sampling={"max_tokens": 5})
    session.ask("b " * 74)
    session.sampling["max_tokens"] = 500
    with pytest.raises(ContextError, match="room for 40"):
        session.ask("b " * 40)


def test_verbose_counts_what_was_evaluated(tmp_path: Path, capsys: Capture) -> None:
    """And what was in the cache."""
    FakeSession(tmp_path, verbose=1).ask("one two three")
    shown = capsys.readouterr().err
    assert "prompt 3 tokens, 1 cached" in shown
    assert "generated 3 tokens" in shown


def test_a_model_that_does_not_load_changes_nothing(tmp_path: Path, tiny: Path) -> None:
    """The old one is loaded again, because there may be no memory for two at once."""
    session = FakeSession(tmp_path)
    session.ask("first")
    session.broken = {str(tiny)}
    with pytest.raises(UsageError):
        session.switch(str(tiny))
    session.ask("second")
    assert session.model.weights.name == "fake"
    session.broken.clear()
    session.switch(str(tiny))
    session.ask("third")
    assert session.model.weights.name == str(tiny)
    assert [model.closed for model in session.models] == [True, True, False]
    assert session.contents[::2] == ["first", "second", "third"]


def test_ctrl_c_while_another_model_loads(tmp_path: Path, tiny: Path, capsys: Capture) -> None:
    """The old one stays, however often it is pressed, and that is said."""
    session = FakeSession(tmp_path)
    session.at_terminal = True
    session.stopped = {str(tiny)}
    with pytest.raises(KeyboardInterrupt):
        session.switch(str(tiny))
    assert "fake stays" in capsys.readouterr().err
    session.ask("first")
    assert session.model.weights.name == "fake"
    session.stopped.clear()
    session._interrupt.request()  # one too many, in the answer before
    session.switch(str(tiny))
    assert session.model.weights.name == str(tiny)


def test_no_model_that_loads_is_the_end(tmp_path: Path, tiny: Path, capsys: Capture) -> None:
    """Both failures are told, and there is nothing to go on with."""
    session = FakeSession(tmp_path)
    session.broken = {str(tiny), "fake"}
    with pytest.raises(UsageError, match="fake is broken"):
        session.switch(str(tiny))
    assert session.lost
    assert f"error: {tiny} is broken" in capsys.readouterr().err


def test_another_model_is_asked_for_what_it_can_do(
    tmp_path: Path, tiny: Path, capsys: Capture
) -> None:
    """What it cannot is taken back once, and said, instead of failing at each turn."""
    session = FakeSession(
        tmp_path,
        sampling={"reasoning_budget": 3, "top_k": 7},
        form=PromptOptions(think=True, template_kwargs={"a": 1}),
        logit_bias=(("fox", 1.0),),
        reasons=True,
    )
    session.ask("first")
    session.switch(str(tiny))
    shown = capsys.readouterr().err
    for name in ("think", "reasoning_budget", "--logit-bias"):
        assert f"note: {name} is taken back: " in shown
    session.ask("second")
    params = session.requests[-1].params
    assert (params.reasoning_budget, params.top_k, params.logit_bias) == (None, 7, ())
    assert session.form == PromptOptions(template_kwargs={"a": 1})


@pytest.mark.parametrize(("resume", "kept"), [(True, True), (False, False)])
def test_without_a_terminal_only_continue_keeps(tmp_path: Path, resume: bool, kept: bool) -> None:
    """A script leaves a person's last conversation alone."""
    session = FakeSession(tmp_path, resume=resume)
    session.ask("first")
    path = tmp_path / "state" / "conversation.json"
    assert path.exists() == kept
    if kept:
        assert json.loads(path.read_text())["messages"] == session.dialogue.messages
        assert [p.name for p in path.parent.iterdir()] == [path.name]
        again = FakeSession(tmp_path, system="Be kind.")
        again.resume(read(path))
        assert again.contents == ["Be kind.", "first", "Hello!"]


def test_a_state_directory_that_cannot_be_is_said_once(tmp_path: Path, capsys: Capture) -> None:
    """The conversation goes on."""
    (tmp_path / "state").write_text("a file")
    session = FakeSession(tmp_path, resume=True)
    session.ask("first")
    session.ask("second")
    assert capsys.readouterr().err.count("note: cannot keep the conversation") == 1


@pytest.mark.parametrize(
    ("text", "open_"),
    [
        ("hello", False),
        ('"""', True),
        ('"""a\nb', True),
        ('"""a\nb"""', False),
        ('"""a\nb""" \n', False),
        ('/system """a', True),
        ('/system """a"""', False),
        ('say """', False),
        ("", False),
    ],
)
def test_triple_quotes_open_and_close(text: str, open_: bool) -> None:
    """At the beginning, or after a command."""
    assert unfinished(text) == open_


@given(st.text().map(str.strip).filter(lambda text: '"""' not in text))
def test_what_stands_between_triple_quotes_is_the_message(text: str) -> None:
    """On the same lines or on lines of its own."""
    text = text.strip("\r\n")
    assert unquoted(f'"""\n{text}\n"""') == unquoted(f'"""{text}"""') == text


class Screen(io.TextIOWrapper):
    """Standard error, where it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("terminal", "options", "shown"),
    [
        (True, {}, "\x1b[2mI think\x1b[0m\n\n"),
        (True, {"no_color": True}, "I think\n\n"),
        (True, {"quiet": True}, ""),
        (False, {}, ""),
    ],
)
def test_reasoning_is_for_people(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
    options: dict[str, bool],
    shown: str,
) -> None:
    """Dim, aside, and on a terminal only."""
    screen = (Screen if terminal else io.TextIOWrapper)(io.BytesIO())
    monkeypatch.setattr("sys.stderr", screen)
    session = FakeSession(tmp_path, ["I think</think>One."], **options)
    session.ask("first")
    screen.seek(0)
    assert screen.read() == shown
    assert session.shown.answers == ["One."]


MARKDOWN = st.lists(
    st.sampled_from(["text", "", "- item", "  more", "```", "```py", "````", "~~~", "# head"])
)


@given(MARKDOWN.map("\n".join), st.integers(1, 7))
def test_blocks_are_the_text_whatever_the_pieces(text: str, size: int) -> None:
    """No line is lost, whole fences stay in one block."""
    blocks, found = Blocks(), []
    for at in range(0, len(text), size):
        found += blocks.push(text[at : at + size])
    found += blocks.flush()

    whole = Blocks()
    assert found == whole.push(text) + whole.flush()
    lines = [line for block in found for line in block.split("\n") if line.strip()]
    assert lines == [line for line in text.split("\n") if line.strip()]


def test_markdown_is_drawn_as_it_comes(tmp_path: Path) -> None:
    """Block by block, code as it is, one newline at the end."""
    out = io.BytesIO()
    view = Drawn(Sink(out, "out"), Settings(tmp_path, tmp_path))
    view.write("# Head\n\n**bold** [link](http://a.b)\n\n```\nx  *y*\n")
    assert "bold link (http://a.b)" in out.getvalue().decode()
    assert "**" not in out.getvalue().decode()
    view.write("\nz\n```\n\n\n")
    view.end()
    lines = [line.strip() for line in out.getvalue().decode().splitlines()]
    assert "x  *y*" in lines
    assert lines[-1] == "z" or lines[-1] == ""
    assert out.getvalue().endswith(b"\n")
    out.truncate(0)
    view.end()
    assert out.getvalue().strip(b"\0") == b"\n"


def test_blocks_come_when_they_are_complete() -> None:
    """A fence with blank lines is one; a list keeps its paragraphs."""
    blocks = Blocks()
    assert blocks.push("one\ntwo\n") == []
    assert blocks.push("\n") == []
    assert blocks.push("1. a\n\n   b\n\n```\nx\n\ny\n") == ["one\ntwo", "1. a\n\n   b"]
    assert blocks.push("```\nz") == ["```\nx\n\ny\n```"]
    assert blocks.flush() == ["z"]
