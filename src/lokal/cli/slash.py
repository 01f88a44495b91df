"""What begins with a slash: commands to the conversation instead of messages to the model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from lokal.cli import transcripts
from lokal.cli.message import unquoted
from lokal.cli.output import note, visible
from lokal.cli.prompt_input import read_text
from lokal.cli.session import Session
from lokal.cli.slash_set import KINDS, set_option
from lokal.errors import UsageError
from lokal.settings import expand
from lokal.weights import Weights

SHOWN = 60  # characters of a message that stands for the whole


class Command(NamedTuple):
    """`takes` is its arguments as the help shows them; one without help is a second name."""

    run: Callable[[Session, str], object]
    takes: str = ""
    help: str = ""


def take(session: Session, text: str) -> None:
    """A message is asked, a command is run, a blank line is nothing.

    Raises:
        EOFError: the command was to leave.
        LokalError: what the message or the command came to; the conversation is as it was.
        KeyboardInterrupt: Ctrl-C.
    """
    typed = text.strip()
    if typed.startswith("//"):
        session.ask(typed[1:])
    elif typed.startswith("/"):
        name, *rest = typed.split(maxsplit=1)
        _command(name).run(session, unquoted(rest[0]) if rest else "")
    elif message := unquoted(typed):
        session.ask(message)


def _command(name: str) -> Command:
    if name in COMMANDS:
        return COMMANDS[name]
    close = get_close_matches(name, COMMANDS, n=2)
    mean = f"did you mean {' or '.join(close)}? " if close else ""
    raise UsageError(
        f"there is no command {name}",
        hint=f"{mean}/help lists them; a message that begins with a slash begins with two",
    )


def _help(_session: Session, _argument: str) -> None:
    for name, command in COMMANDS.items():
        if command.help:
            note(f"{f'{name} {command.takes}':<24} {command.help}")
    note("")
    for keys, meaning in KEYS:
        note(f"{keys:<24} {meaning}")


def _bye(_session: Session, _argument: str) -> None:
    raise EOFError


def _clear(session: Session, _argument: str) -> None:
    session.dialogue.clear()
    session.attached.clear()
    note("the conversation is empty" + ("; the system text stays" * bool(session.dialogue.system)))


def _system(session: Session, argument: str) -> None:
    if argument in ('""', "''"):
        session.dialogue.system = None
    elif argument.startswith("@"):
        session.dialogue.system = read_text(str(_path(argument[1:])), "/system")
    elif argument:
        session.dialogue.system = argument
    note(session.dialogue.system or "there is no system text")


def _show(session: Session, _argument: str) -> None:
    from lokal.cli.show import facts_of, lines

    model = session.model
    facts = facts_of(model.weights)
    shown = {name: facts[name] for name in SHOWN_FACTS if facts.get(name) is not None}
    for line in lines({"model": model.weights.name, **shown}):
        note(line)
    note(f"{'template':<18} {_template(model.weights)}")
    note(f"{'context':<18} {model.context.n_ctx} tokens of {model.weights.context_limit}")
    note(f"{'runs':<18} {model.description}")


def _save(session: Session, argument: str) -> None:
    if not session.dialogue.turns:
        raise UsageError("there is nothing to save yet", hint="write a message")
    path = _path(argument)
    transcripts.save(path, session.dialogue, session.model.weights.name)
    note(f"saved {_size(session)} to {path}")


def _load(session: Session, argument: str) -> None:
    path = _path(argument)
    found = transcripts.read(path)
    session.dialogue = found.dialogue
    session.attached.clear()
    note(f"loaded {_size(session)}" + (f", with {found.model}" if found.model else ""))
    session.tell_waiting()


def _regen(session: Session, _argument: str) -> None:
    if session.model.sampling(**session.sampling).temperature == 0:
        session.options.say("note: at temperature 0 the answer is the same; /set temp changes it")
    session.regen()


def _undo(session: Session, _argument: str) -> None:
    if session.attached:
        note(f"took back: {_short(session.attached.pop())}")
        return
    turn = session.dialogue.undo()
    if not turn:
        raise UsageError("there is nothing to undo", hint="write a message")
    note(f"took back: {_short(turn[0]['content'])}")


def _read(session: Session, argument: str) -> None:
    name, question = _file_and_question(argument)
    text = read_text(str(_path(name)), "/read")
    if not text:
        raise UsageError(f"{name} is empty", hint="choose another file")
    if question:
        session.ask(question, text)
    else:
        session.attached.append(text)
        note(f"{len(text)} characters of {name} go with the next message")


def _model(session: Session, argument: str) -> None:
    if argument:
        session.switch(argument)
    note(f"{session.model.weights.name} answers")


def _tokens(session: Session, _argument: str) -> None:
    """A message has the tokens of its text; the template adds its own to all of them."""
    messages = session.dialogue.messages
    n_ctx = session.model.context.n_ctx
    tokenize = session.model.format(session.form).tokenizer.tokenize
    n_bos = len(tokenize(""))
    counts = [len(tokenize(message["content"])) - n_bos for message in messages]
    for message, count in zip(messages, counts, strict=True):
        note(f"{count:>7}  {message['role']:<9}  {_short(message['content'])}")
    total = session.tokens(messages) if session.dialogue.turns else sum(counts)
    if total > sum(counts):
        note(f"{total - sum(counts):>7}  template")
    note(f"{total:>7}  of {n_ctx}")


def _path(name: str) -> Path:
    if not name:
        raise UsageError("there is no file name", hint="give one after the command")
    if "\0" in name:
        raise UsageError(
            f"{name!r:.50} is no file name", hint="give one without the zero byte in it"
        )
    quoted = len(name) > 1 and name[0] == name[-1] and name[0] in "\"'"
    return expand(name[1:-1] if quoted else name)


def _template(weights: Weights) -> str:
    if weights.own_template is not None:
        return "your own"
    if weights.template is None:
        return "none: it completes the text as it is"
    return "the file's" if weights.template == weights.header.chat_template else "the registry's"


def _file_and_question(argument: str) -> tuple[str, str]:
    """A file's name in quotes, or the longest beginning that names one, and the rest."""
    if argument[:1] in ("'", '"') and (end := argument.find(argument[0], 1)) > 0:
        return argument[1:end], argument[end + 1 :].strip()
    for name in _beginnings(argument):
        # A long question makes a name that pathlib's own is_file raises for.
        if "\0" not in name and os.path.isfile(expand(name)):  # noqa: PTH113
            return name, argument[len(name) :].strip()
    name, _, question = argument.partition(" ")
    return name, question.strip()


def _beginnings(text: str) -> Iterator[str]:
    """The words from the first on, all of them before fewer."""
    words = text[:4096].split(" ")
    for n in range(len(words), 0, -1):
        yield " ".join(words[:n])


def _size(session: Session) -> str:
    n = len(session.dialogue.messages)
    return "1 message" if n == 1 else f"{n} messages"


def _short(text: str) -> str:
    line = visible(" ".join(text.split()))
    return f"{line[:SHOWN]}…" if len(line) > SHOWN else line


SHOWN_FACTS = (
    *("title", "license", "license_url", "open_source", "origin", "origin_url", "path"),
    *("quantization", "size", "parameters", "architecture"),
)

COMMANDS = {
    "/help": Command(_help, "", "this list"),
    "/clear": Command(_clear, "", "forget the conversation, keep the system text"),
    "/regen": Command(_regen, "", "another answer to the last message"),
    "/undo": Command(_undo, "", "take back what /read attached, else the last turn"),
    "/read": Command(_read, "FILE [QUESTION]", "send a file's text with a question"),
    "/system": Command(_system, "[TEXT|@FILE]", 'show or change the system text; "" removes it'),
    "/set": Command(set_option, "[OPTION [VALUE]]", "show or change sampling, seed, limits"),
    "/model": Command(_model, "[NAME]", "go on with another model"),
    "/show": Command(_show, "", "what is known of the model, and how it runs"),
    "/tokens": Command(_tokens, "", "how full the context is"),
    "/save": Command(_save, "FILE", "write the conversation as JSON"),
    "/load": Command(_load, "FILE", "go on with a conversation that was saved"),
    "/bye": Command(_bye, "", "leave"),
    "/exit": Command(_bye),
    "/quit": Command(_bye),
    "/?": Command(_help),
}
KEYS = (
    ('"""', "begins and ends a message of several lines; so does Alt-Enter, and a paste"),
    ("Ctrl-C", "stops the answer and keeps the conversation; at the prompt clears the line"),
    ("Ctrl-D", "leaves"),
)


class Takes(NamedTuple):
    """What may be typed next: the beginning of a path, or one of some words."""

    path: str | None = None
    choices: tuple[str, ...] = ()


def arguments(command: str, typed: str) -> Takes:
    """What a command may take after what was typed."""
    if command in ("/read", "/save", "/load"):
        return Takes(path=typed)
    if command == "/system" and typed.startswith("@"):
        return Takes(path=typed[1:])
    if command == "/set":
        return Takes(choices=tuple(KINDS))
    if command == "/model":
        from lokal.cli.options import complete_model

        return Takes(choices=tuple(complete_model(typed)))
    return Takes()
