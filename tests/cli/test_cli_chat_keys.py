"""Keys at the prompt of `llm chat`, and while it answers."""

from __future__ import annotations

from pathlib import Path

from command import Llm
from person import ALT_ENTER, CTRL_C, CTRL_D, Person, pasted

ENDLESS = ("--ignore-eos", "--temp", "0")


def test_messages_of_several_lines(llm: Llm, tmp_path: Path) -> None:
    """Triple quotes, Alt-Enter and a paste; nothing is sent before Enter."""
    with Person(llm, "chat", "tiny", "-n", "2") as person:
        person.prompted()
        person.say('"""one\rtwo\r\rthree"""')
        person.say(f"four{ALT_ENTER}five")
        person.press(pasted("six\nseven\n\teight 你好"))
        person.until_drawn("你好")
        person.say("!")
        asked = person.contents(tmp_path / "talk.json")[::2]
    assert asked == ["one\ntwo\n\nthree", "four\nfive", "six\nseven\n\teight 你好!"]


def test_ctrl_c_stops_the_answer_and_keeps_it(llm: Llm, endless: Path, tmp_path: Path) -> None:
    """Time after time; what was written is the answer."""
    with Person(llm, "chat", endless, *ENDLESS) as person:
        person.prompted()
        shown = []
        for _ in range(3):
            person.send("hello")
            person.until_match("[^\x1b]{40}")
            person.press(CTRL_C)
            person.prompted()
        messages = person.saved(tmp_path / "talk.json")
        assert [m["role"] for m in messages] == ["user", "assistant"] * 3
        shown = [m["content"] for m in messages[1::2]]
        assert all(len(text) > 20 for text in shown)
        person.press(CTRL_D)
        assert person.leave() == 0


def test_ctrl_c_pressed_again_and_again(llm: Llm, endless: Path, tmp_path: Path) -> None:
    """By an impatient person; it stops the answer and nothing else."""
    with Person(llm, "chat", endless, *ENDLESS) as person:
        person.prompted()
        for _ in range(5):
            person.send("hello")
            person.until_match("[^\x1b]{40}")
            for _ in range(4):
                person.press(CTRL_C)
            person.press("/set seed 54321\r")
            person.until("seed 54321\r\n")
            person.prompted()
        roles = [message["role"] for message in person.saved(tmp_path / "talk.json")]
        assert roles == ["user", "assistant"] * 5
        person.press(CTRL_D)
        assert person.leave() == 0


def test_ctrl_c_in_a_long_prompt_takes_the_message_back(
    llm: Llm, slow: Path, tmp_path: Path
) -> None:
    """Nothing was answered, so nothing was asked; the next message is answered."""
    long = tmp_path / "long"
    long.write_text("x " * 15000)
    (tmp_path / "sitecustomize.py").write_text(
        "import os\nfrom lokal.engine.backend import LlamaContext\ndecode = LlamaContext.decode\n"
        "def told(self, plan):\n    os.write(2, b'a batch')\n    return decode(self, plan)\n"
        "LlamaContext.decode = told\n"
    )
    path = f"{tmp_path}:{llm.environ()['PYTHONPATH']}"
    with Person(llm, "chat", slow, "-n", "3", env={"PYTHONPATH": path}) as person:
        person.prompted()
        person.say("hello")
        person.send(f"/read {long} What is it?")
        for _ in range(2):  # the second of many
            person.until("a batch")
        person.press(CTRL_C)
        assert "the message is not kept" in person.prompted()
        person.say("hello again")
        assert person.contents(tmp_path / "talk.json")[::2] == ["hello", "hello again"]


def test_ctrl_c_at_the_prompt_clears_the_line(llm: Llm, tmp_path: Path) -> None:
    """Where there is none it says how to leave."""
    with Person(llm, "chat", "tiny", "-n", "2") as person:
        person.prompted()
        person.press('"""half a message\rand more')
        person.until_drawn("and more")
        person.press(CTRL_C)
        assert "Ctrl-D" not in person.answered()
        person.press(CTRL_C)
        assert "Ctrl-D" in person.answered()
        person.say("hello")
        assert person.contents(tmp_path / "talk.json")[0] == "hello"


def test_what_is_typed_ahead_waits_for_the_prompt(llm: Llm, endless: Path, tmp_path: Path) -> None:
    """It is not shown in the middle of the answer, and not lost."""
    with Person(llm, "chat", endless, *ENDLESS) as person:
        person.prompted()
        person.send("hello")
        person.until_match("[^\x1b]{40}")
        person.press(f"/set seed 54321\r/save {tmp_path / 'talk.json'}\r")
        person.until_match("[^\x1b]{40}")
        person.press(CTRL_C)
        shown = person.prompted()
        assert "54321" not in shown
        person.until("seed 54321")
        person.until("saved 2 messages")


def test_what_is_pasted_meanwhile_is_one_message(llm: Llm, endless: Path, tmp_path: Path) -> None:
    """None of its lines is sent, and none is a command."""
    with Person(llm, "chat", endless, *ENDLESS) as person:
        person.prompted()
        person.send("hello")
        person.until_match("[^\x1b]{40}")
        person.press(pasted("first\n/clear\n/bye\nlast"))
        person.until_match("[^\x1b]{40}")
        person.press(CTRL_C)
        person.prompted()
        person.until_drawn("last")
        person.send("")
        person.until_match("[^\x1b]{40}")
        person.press(CTRL_C)
        person.prompted()
        contents = person.contents(tmp_path / "talk.json")
        assert [contents[0], contents[2]] == ["hello", "first\n/clear\n/bye\nlast"]


def test_a_window_that_is_resized(llm: Llm, endless: Path, tmp_path: Path) -> None:
    """In the middle of a line and of an answer; the message is whole, the answer goes on."""
    message = "a message that is longer than a narrow window is wide, 你好, and goes on for a while"
    with Person(llm, "chat", endless, *ENDLESS) as person:
        person.prompted()
        person.press(message)
        person.until_drawn("for a while")
        person.resize(20, 40)
        person.prompted()
        person.send("!")
        person.resize(30, 60)
        person.until_match("[^\x1b]{40}")
        person.press(CTRL_C)
        person.prompted()
        assert person.contents(tmp_path / "talk.json")[0] == f"{message}!"
        person.press(CTRL_D)
        assert person.leave() == 0


def test_completion(llm: Llm, tmp_path: Path) -> None:
    """The Tab key knows commands, options and files."""
    (tmp_path / "a-long-file-name.txt").write_text("hello")
    with Person(llm, "chat", "tiny", "-n", "2") as person:
        person.prompted()
        person.say("hello")
        person.press("/to")
        person.until_drawn("how full")
        assert "template" in person.say("\t")
        person.press("/set max")
        person.until_drawn("max_tokens")
        assert "max_tokens 9" in person.say("\t 9")
        person.press(f"/read {tmp_path}/a-l")
        person.until_drawn("a-long-file-name.txt")
        assert "a-long-file-name.txt" in person.say("\t")
