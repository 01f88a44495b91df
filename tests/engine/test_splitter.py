"""Reasoning and answer: told apart exactly, as early as can be, wherever tokens cut the marks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lokal.catalog.registry import Registry
from lokal.engine.answer_text import AnswerText
from lokal.engine.reasoning import Channels, Reasoning, Rule, Tags
from lokal.engine.splitter import Parts, splitter
from lokal.weights import Weights

THINK, WIDE, HARMONY = Tags("<think>", "</think>"), Tags("◁t▷", "◁/t▷"), Channels()
MAGISTRAL = Tags("[THINK]", "[/THINK]")
TAGS = (THINK, MAGISTRAL, WIDE)
ASSISTANT = "<|start|>user<|message|>hi <|start|><|end|><|start|>assistant"
Token = tuple[bytes, bytes]
"""What a token writes, and the name of one that writes nothing."""


def plain(text: str | bytes) -> list[Token]:
    """A token for each byte."""
    data = text if isinstance(text, bytes) else text.encode()
    return [(bytes([byte]), b"") for byte in data]


def run(
    rule: Rule, prompt: str, tokens: Sequence[Token], *, exact: bool = False
) -> tuple[bytes, bytes]:
    """What was reasoning, and what was the answer."""
    splits = splitter(Reasoning(rule, prompt, exact=exact))
    parts = [part for token in tokens for part in splits.push(*token)]
    return joined([*parts, *splits.flush()])


def joined(parts: Parts) -> tuple[bytes, bytes]:
    thought, answer = (b"".join(d for d, kind in parts if kind is k) for k in (True, False))
    return thought, answer


def cuts(text: str, places: Sequence[int]) -> list[Token]:
    data = text.encode()
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [(data[a:b], b"") for a, b in pairwise(edges)]


def with_control_tokens(text: str, marks: Sequence[str]) -> list[Token]:
    """The text with a control token for every mark; the rest a byte each."""
    found = [(at, mark) for mark in marks if (at := text.find(mark)) >= 0]
    if not found:
        return plain(text)
    at, mark = min(found)
    rest = with_control_tokens(text[at + len(mark) :], marks)
    return [*plain(text[:at]), (b"", mark.encode()), (b"", b"<other>"), *rest]


def marks_of(rule: Rule) -> list[str]:
    if isinstance(rule, Tags):
        return [rule.open, rule.close]
    return ["<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|constrain|>"]


# Texts with beginnings of marks, and no whole one.
LOOKS = st.lists(
    st.sampled_from(
        ["a", "é", "🙂", " ", "\n", "<", "</", "<thin", "[/THIN", "◁", "|", "<|en", "to"]
    )
).map("".join)
PLACES = st.lists(st.integers(0, 10_000), max_size=12)


@pytest.mark.parametrize("rule", TAGS)
@given(LOOKS, LOOKS, st.sampled_from(["", "\n", "\n\n", " "]), PLACES, st.booleans())
def test_any_reasoning_and_any_answer_come_out_exact(
    rule: Tags, thought: str, answer: str, space: str, places: list[int], opened: bool
) -> None:
    """Cut anywhere, with marks spelled or as tokens, opened by the prompt or the model."""
    thought, answer = thought.lstrip(), answer.lstrip()
    said = f"{space}{thought}{rule.close}{space}{answer}"
    prompt = f"user: {rule.open}{rule.close}\nassistant: "
    if opened:
        prompt += rule.open + space
    else:
        said = f"{space}{rule.open}{said}"
    expected = thought.encode(), answer.encode()
    tokenized = cuts(said, places), plain(said), with_control_tokens(said, marks_of(rule))
    for tokens in tokenized:
        assert run(rule, prompt, tokens) == expected
    assert run(rule, prompt, tokenized[-1], exact=True) == expected


MESSAGES = st.lists(st.tuples(st.sampled_from(["analysis", "commentary"]), LOOKS), max_size=3)
RECIPIENT = st.sampled_from(["", " to=functions.f <|constrain|>json", " json"])


@given(MESSAGES, LOOKS, RECIPIENT, PLACES)
def test_any_messages_come_out_exact(
    messages: list[tuple[str, str]], final: str, recipient: str, places: list[int]
) -> None:
    """Of channels: headers are never shown; what a channel has is told from what others have."""
    messages = [*messages, ("final", final)]
    headers = [f"<|channel|>{channel}{recipient}<|message|>" for channel, _ in messages]
    said = "<|end|><|start|>assistant".join(
        header + text for header, (_, text) in zip(headers, messages, strict=True)
    )
    thought = "\n\n".join(t for channel, t in messages if channel == "analysis" and t)
    answer = "\n\n".join(t for channel, t in messages if channel != "analysis" and t)
    expected = thought.encode(), answer.encode()
    tokenized = cuts(said, places), plain(said), with_control_tokens(said, marks_of(HARMONY))
    for tokens in tokenized:
        assert run(HARMONY, ASSISTANT, tokens) == expected
    assert run(HARMONY, ASSISTANT, tokenized[-1], exact=True) == expected


# Texts that spell marks, in tokens of so many bytes that none is one.
SPELLED = st.lists(
    st.sampled_from(
        [
            *("<think>", "</think>", "[THINK]", "[/THINK]", "◁t▷", "◁/t▷", "a", " ", "é", "to=f "),
            *("<|start|>", "<|start|>user", "<|channel|>", "<|message|>", "<|end|>", "<|", "<"),
        ]
    )
).map("".join)
SIZES = st.integers(1, 6)
WRITES = st.booleans()


def spelled(text: str, size: int) -> list[Token]:
    data = text.encode()
    return [(data[at : at + size], b"") for at in range(0, len(data), size)]


def as_token(mark: str, writes: bool) -> Token:
    """A control token, or one that writes itself."""
    return (mark.encode(), b"") if writes else (b"", mark.encode())


def as_tokens(header: str, writes: bool) -> list[Token]:
    """A token for every mark of a header, and one for each text between them."""
    words = re.split(r"(<\|\w+\|>)", header)
    return [
        as_token(word, writes) if word.startswith("<|") else (word.encode(), b"")
        for word in words
        if word
    ]


@pytest.mark.parametrize("rule", TAGS)
@given(SPELLED, SPELLED, SIZES, WRITES, st.booleans())
def test_no_text_is_a_tag_where_tags_are_tokens(
    rule: Tags, thought: str, answer: str, size: int, writes: bool, opened: bool
) -> None:
    """Whatever it spells, before and after the tag that ends the reasoning."""
    tokens = [*spelled(thought, size), as_token(rule.close, writes), *spelled(answer, size)]
    if not opened:
        tokens.insert(0, as_token(rule.open, writes))
    expected = thought.lstrip().encode(), answer.lstrip().encode()
    assert run(rule, rule.open if opened else "", tokens, exact=True) == expected
    at_once = run(rule, rule.open + rule.close, spelled(answer, size), exact=True)
    assert at_once == (b"", answer.lstrip().encode())
    assert run(rule, "", spelled(answer, size), exact=True) == (b"", answer.encode())


SPELLED_MESSAGES = st.lists(
    st.tuples(st.sampled_from(["analysis", "commentary"]), SPELLED), max_size=3
)


@given(SPELLED_MESSAGES, SPELLED, RECIPIENT, SIZES, WRITES, st.booleans())
def test_no_text_is_a_mark_where_the_marks_of_channels_are_tokens(
    messages: list[tuple[str, str]],
    final: str,
    recipient: str,
    size: int,
    writes: bool,
    headless: bool,
) -> None:
    """Whatever it spells; an answer may come without a header too."""
    tokens: list[Token] = []
    for channel, text in messages:
        tokens += as_tokens(f"<|channel|>{channel}{recipient}<|message|>", writes)
        tokens += [*spelled(text, size), as_token("<|end|>", writes)]
        tokens += [] if headless else as_tokens("<|start|>assistant", writes)
    tokens += [] if headless else as_tokens("<|channel|>final<|message|>", writes)
    tokens += spelled(final, size)
    if headless and messages:
        final = final.lstrip()
    thought = "\n\n".join(t for c, t in messages if c == "analysis" and t)
    answers = [t for c, t in messages if c != "analysis"] + [final]
    expected = thought.encode(), "\n\n".join(t for t in answers if t).encode()
    assert run(HARMONY, ASSISTANT, tokens, exact=True) == expected


SAID = [
    (THINK, "", "<think>\nhm </thin\n</think>\n\nyes é", "hm </thin\n", "yes é"),
    (THINK, "<think>\n", "hm</think>yes", "hm", "yes"),
    (MAGISTRAL, "", "[THINK]hm[/THINK]yes", "hm", "yes"),
    (HARMONY, ASSISTANT, "<|channel|>final<|message|>yes", "", "yes"),
    (
        HARMONY,
        ASSISTANT,
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>yes",
        "hm",
        "yes",
    ),
]


@pytest.mark.parametrize(("rule", "prompt", "said", "thought", "answer"), SAID)
def test_at_every_cut(rule: Rule, prompt: str, said: str, thought: str, answer: str) -> None:
    """Any two of them."""
    for places in combinations(range(len(said.encode()) + 1), 2):
        assert run(rule, prompt, cuts(said, places)) == (thought.encode(), answer.encode())


@pytest.mark.parametrize(
    ("rule", "prompt", "said", "thought", "answer"),
    [
        # The model answers at once; what comes later marks nothing.
        (THINK, "", "yes <think>no</think>", "", "yes <think>no</think>"),
        (THINK, "", "hm</think>yes", "", "hm</think>yes"),
        (THINK, "", " \n yes", "", " \n yes"),
        (THINK, "", "", "", ""),
        (THINK, "", " \n", "", " \n"),
        (THINK, "", "<thin", "", "<thin"),
        # The prompt has closed it.
        (THINK, "<think>\n\n</think>\n\n", "\nyes", "", "yes"),
        (THINK, "<think></think>", "<think>a</think>", "", "<think>a</think>"),
        # Nothing in it, or nothing after it, or no end of it.
        (THINK, "", "<think>\n\n</think>\n\nyes", "", "yes"),
        (THINK, "", "<think>hm</think>\n\n", "hm", ""),
        (THINK, "", "<think>hm", "hm", ""),
        (THINK, "", "<think>hm</thin", "hm</thin", ""),
        (THINK, "<think>", "", "", ""),
        # It is over once.
        (THINK, "", "<think>a<think>b</think>c</think>d", "a<think>b", "c</think>d"),
        # The header stands in the prompt, or is missing; a call of a tool; no role; no end.
        (HARMONY, ASSISTANT + "<|channel|>final<|message|>", "yes", "", "yes"),
        (HARMONY, ASSISTANT + "<|channel|>final<|message|>so ", "yes", "", "yes"),
        (HARMONY, ASSISTANT + "<|channel|>analysis<|message|>", "hm", "hm", ""),
        (HARMONY, ASSISTANT + "<|channel|>analysis<|message|>so <", "hm", "hm", ""),
        (HARMONY, ASSISTANT + "<|channel|>ana", "lysis<|message|>hm", "hm", ""),
        (HARMONY, ASSISTANT + " to=f", "<|channel|>commentary<|message|>{}", "", "{}"),
        (HARMONY, ASSISTANT, "yes", "", "yes"),
        (HARMONY, ASSISTANT, "to be", "", "to be"),
        (HARMONY, ASSISTANT, "<|message|>yes", "", "yes"),
        (HARMONY, ASSISTANT, " to=f<|channel|>analysis<|message|>{}", "{}", ""),
        (HARMONY, ASSISTANT, "<|channel|>analysis<|message|>a<|channel|>final<|message|>b", *"ab"),
        (HARMONY, ASSISTANT, "<|channel|>analysis<|message|>hm<|end|>", "hm", ""),
        (HARMONY, ASSISTANT, "<|channel|>analysis<|message|>hm<|en", "hm<|en", ""),
        (HARMONY, ASSISTANT, "<|channel|>fin", "", ""),
        (HARMONY, ASSISTANT, "<|cha", "", "<|cha"),
        (HARMONY, ASSISTANT, "to=5 is the answer", "", "to=5 is the answer"),
        (HARMONY, ASSISTANT, "to=5", "", "to=5"),
        (HARMONY, ASSISTANT, " to=f <|channel|>comm", "", ""),
        (HARMONY, ASSISTANT, "<|channel|>analysis<|message|>hm<|end|>t", "hm", "t"),
        (HARMONY, ASSISTANT, "<|channel|>analysis<|message|>hm<|end|>\n", "hm", ""),
        (HARMONY, ASSISTANT, "<|channel|>analysis<|message|>hm<|end|>\nto be", "hm", "to be"),
        (HARMONY, ASSISTANT, "<|channel|>analysis<|message|>hm<|end|><|start|>ass", "hm", ""),
        (HARMONY, ASSISTANT, "<|channel|>analysis<|message|><|end|>yes", "", "yes"),
        (HARMONY, "no message", "<|channel|>final<|message|>yes", "", "yes"),
    ],
)
def test_what_models_and_prompts_do(
    rule: Rule, prompt: str, said: str, thought: str, answer: str
) -> None:
    """Whichever of the two had begun it, and wherever it ends."""
    expected = thought.encode(), answer.encode()
    assert run(rule, prompt, plain(said)) == run(rule, prompt, [(said.encode(), b"")]) == expected


def test_a_message_of_another_role_is_none_of_the_answer() -> None:
    """A model that goes on to play the user, or a tool, has ended its own messages."""
    header = "<|channel|>analysis<|message|>hm<|end|><|start|>"
    for role in ("user", "functions.f to=assistant<|channel|>commentary"):
        said = f"{header}{role}<|message|>no<|end|><|start|>assistant<|message|>no"
        for exact, tokens in ((False, plain(said)), (True, as_tokens(said, writes=True))):
            splits = splitter(Reasoning(HARMONY, ASSISTANT, exact=exact))
            parts = [part for token in tokens for part in splits.push(*token)]
            assert joined([*parts, *splits.flush()]) == (b"hm", b"")
            assert splits.over
    splits = splitter(Reasoning(HARMONY, ASSISTANT))
    splits.push(f"{header}assistant<|channel|>final<|message|>".encode())
    assert not splits.over


def flat(parts: Parts) -> list[tuple[int, bool]]:
    return [(byte, kind) for data, kind in parts for byte in data]


def common(one: list[tuple[int, bool]], other: list[tuple[int, bool]]) -> list[tuple[int, bool]]:
    size = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    return one[: min(len(one), len(other)) if size is None else size]


def continuations(rule: Rule) -> Iterator[bytes]:
    """Ways to go on that make the most of what may wait."""
    yield from (b"", b"x")
    marks = [mark.encode() for mark in marks_of(rule)]
    for mark in marks:
        for start in range(len(mark)):
            yield from (mark[start:] + rest for rest in (b"", b"x"))


@pytest.mark.parametrize(
    ("rule", "prompt", "parts"),
    [
        (THINK, "", ["<think>", "</think>", "<", "</th", "\n", "a", "é"]),
        (THINK, "<think>", ["<think>", "</think>", "<", "</th", "\n", "a", "é"]),
        (WIDE, "", ["◁t▷", "◁/t▷", "◁", "\n", "a"]),
        (
            HARMONY,
            ASSISTANT,
            [
                *("<|channel|>analysis<|message|>", "<|channel|>final<|message|>", "<|end|>"),
                *("<|start|>assistant", "<|start|>user", "<|", "a", "\n", "to=f", " "),
            ],
        ),
    ],
)
@settings(max_examples=30)
@given(st.data())
def test_nothing_waits_that_is_certain_and_nothing_comes_that_is_not(
    rule: Rule, prompt: str, parts: list[str], data: st.DataObject
) -> None:
    """What is out is just what every continuation begins with."""
    said = "".join(data.draw(st.lists(st.sampled_from(parts), max_size=7))).encode()
    said = said[: data.draw(st.integers(0, len(said)))]
    live = splitter(Reasoning(rule, prompt))
    out = flat([part for token in plain(said) for part in live.push(*token)])
    ends = []
    for rest in continuations(rule):
        splits = splitter(Reasoning(rule, prompt))
        whole = [part for token in plain(said + rest) for part in splits.push(*token)]
        ends.append(flat([*whole, *splits.flush()]))
    assert out == reduce(common, ends)


@pytest.mark.parametrize("rule", [THINK, HARMONY])
@given(st.data())
def test_nothing_waits_that_is_certain_where_marks_are_tokens(
    rule: Rule, data: st.DataObject
) -> None:
    """A text that could become a mark elsewhere comes at once."""
    marks = [as_token(mark, writes=True) for mark in marks_of(rule)]
    text = [(piece, b"") for piece in (b"<", b"<|en", b"a", b"\n", b"to", b"=", b"analysis")]
    said = data.draw(st.lists(st.sampled_from([*marks, *text]), max_size=9))
    rests: list[list[Token]] = [[], *([token] for token in (*marks, *text))]
    if rule == HARMONY:
        channels = ("<|channel|>analysis<|message|>x", "<|channel|>final<|message|>x")
        rests += [as_tokens(rest, writes=True) for rest in ("<|message|>x", *channels)]
    else:
        rests += [[mark, (b"x", b"")] for mark in marks]
    live = splitter(Reasoning(rule, ASSISTANT, exact=True))
    out = flat([part for token in said for part in live.push(*token)])
    ends = []
    for rest in rests:
        splits = splitter(Reasoning(rule, ASSISTANT, exact=True))
        whole = [part for token in [*said, *rest] for part in splits.push(*token)]
        ends.append(flat([*whole, *splits.flush()]))
    assert out == reduce(common, ends)


# -- as text


def texts(
    tokens: Sequence[Token], rule: Rule | None = THINK, prompt: str = "", **options: object
) -> tuple[str, str]:
    splits = splitter(rule and Reasoning(rule, prompt))
    shown = AnswerText(**options)  # type: ignore[arg-type]  # stop, drop_space
    parts = [part for token in tokens for part in shown.push(splits.push(*token))]
    parts += shown.push(splits.flush()) + shown.flush()
    assert all(text for text, _ in parts)
    thought, answer = ("".join(t for t, kind in parts if kind is k) for k in (True, False))
    return thought, answer


@given(LOOKS, LOOKS, PLACES)
def test_characters_cut_by_tokens_come_out_whole(
    thought: str, answer: str, places: list[int]
) -> None:
    """On both sides of the marks."""
    said = f"<think>\n{thought}</think>{answer}"
    assert texts(cuts(said, places)) == (thought.lstrip(), answer.lstrip())


@given(st.binary(max_size=8), st.binary(max_size=8))
def test_bytes_that_are_no_text_stay_as_they_are(thought: bytes, answer: bytes) -> None:
    """Half a character in front of a mark is none behind it."""
    shown = texts(plain(b"<think>" + thought + b"</think>" + answer))
    assert [text.encode("utf-8", "surrogateescape") for text in shown] == [
        thought.lstrip(),
        answer.lstrip(),
    ]


def test_a_stop_text_is_about_the_answer() -> None:
    """Reasoning may hold any text, and a part of a stop text no answer."""
    assert texts(plain("<think>a. EN</think>D b. c"), stop=("END", ".")) == ("a. EN", "D b")
    assert texts(plain("<think>a"), stop=("a",)) == ("a", "")


def test_the_space_that_a_vocabulary_puts_in_front_is_dropped() -> None:
    """Of the answer, or of what opens the reasoning."""
    for rule in (None, THINK):
        assert texts(plain("  yes"), rule, drop_space=True) == ("", " yes")
        assert texts(plain("  yes"), rule) == ("", "  yes")
    assert texts(plain(" <think>hm</think> yes"), drop_space=True) == ("hm", "yes")
    assert texts(plain(" hm</think> yes"), prompt="<think>", drop_space=True) == ("hm", "yes")
    assert texts(plain(" yes"), prompt="<think></think>", drop_space=True) == ("", "yes")


def test_reasoning_can_be_closed_from_outside() -> None:
    """What comes then is the answer, and what was held back was reasoning."""
    for rule, begin in ((THINK, "<think>"), (HARMONY, "<|channel|>analysis<|message|>")):
        splits = splitter(Reasoning(rule, ASSISTANT))
        parts = [part for token in plain(begin + "hm<") for part in splits.push(*token)]
        assert splits.reasoning
        parts += splits.close()
        assert splits.answering
        parts += splits.push(b"yes")
        assert joined(parts) == (b"hm<", b"yes")


# -- the registry's rules


def test_every_rule_of_the_registry_tells_them_apart() -> None:
    """In the words of the model that it is for."""
    rules = {}
    for entry in Registry.read().entries():
        weights = Weights(entry.ref, None, None, entry, "x")  # type: ignore[arg-type]  # not read
        if entry.reasoning:
            assert weights.reasoning
            rules[entry.ref] = weights.reasoning
    assert rules["gpt-oss"] == HARMONY
    assert rules["magistral"] == MAGISTRAL
    assert rules["deepseek-r1:8b"] == THINK
    assert rules["qwen3"] == rules["smollm3"] == THINK._replace(switch="enable_thinking")
    for rule in set(rules.values()):
        opening = rule.opening + "analysis<|message|>" * isinstance(rule, Channels)
        assert run(rule, ASSISTANT, plain(f"{opening}hm{rule.closing}yes")) == (b"hm", b"yes")
