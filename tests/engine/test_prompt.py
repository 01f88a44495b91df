"""Prompts: BOS exactly once, and cut to size on request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ggufs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lokal.engine.chat import Message
from lokal.engine.interrupt import Interrupt
from lokal.engine.llama import LlamaModel
from lokal.engine.prompt import PromptFormat
from lokal.engine.vocabulary import Vocabulary
from lokal.errors import UsageError

RAW = st.lists(st.sampled_from([b"a ", "é".encode(), "🙂".encode(), b"\xf0\x9f", b"\xff", b"\0"]))


class Letters:
    """A tokenizer with one token a letter, and BOS in front."""

    bos_text, eos_text, adds_space = "^", "$", False

    def tokenize(self, text: str) -> list[int]:
        return [ord("^"), *map(ord, text.removeprefix("^"))]


def vocabulary(path: Path) -> Iterator[Vocabulary]:
    model = LlamaModel(path, Interrupt(), vocab_only=True)
    yield model.vocabulary
    model.close()


@pytest.fixture(scope="module")
def spm(llama: Path) -> Iterator[Vocabulary]:
    """Mistral's kind of vocabulary, which wants BOS."""
    yield from vocabulary(llama)


@pytest.fixture(scope="module")
def bpe(models: Path) -> Iterator[Vocabulary]:
    """GPT-2's kind, which wants none."""
    yield from vocabulary(ggufs.write(models / "bpe.gguf", vocab="bpe"))


def user(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("template", [None, ggufs.TEMPLATE, "{{ messages[0].content }}"])
@pytest.mark.parametrize("text", ["hello", "", "<s>", "<s>hello", "</s>"])
def test_bos_stands_in_front_exactly_once(spm: Vocabulary, template: str | None, text: str) -> None:
    """Whether the template writes it, leaves it out, or the user spells it."""
    if template == ggufs.TEMPLATE and text.startswith("<s>"):
        text = "hello"  # BOS in the middle is the user's own doing
    tokens = PromptFormat(spm, template).build(user(text)).tokens
    assert tokens[0] == ggufs.BOS_ID
    assert tokens.count(ggufs.BOS_ID) == 1


def test_no_bos_where_the_vocabulary_wants_none(bpe: Vocabulary) -> None:
    """But the one that the text spells out stays."""
    assert ggufs.BOS_ID not in PromptFormat(bpe, None).build(user("hello")).tokens
    assert PromptFormat(bpe, None).build(user("<s>hello")).tokens[0] == ggufs.BOS_ID
    assert PromptFormat(bpe, None).build(user("")).tokens == ()


def test_only_sentencepiece_puts_a_space_in_front(
    spm: Vocabulary, bpe: Vocabulary, models: Path
) -> None:
    """Elsewhere a space at the beginning of an answer is the model's own."""
    assert PromptFormat(spm, ggufs.TEMPLATE).build(user("hello")).drop_space
    assert not PromptFormat(spm, None).build(user("hello")).drop_space
    assert not PromptFormat(bpe, ggufs.TEMPLATE).build(user("hello")).drop_space
    no_prefix = {"tokenizer.ggml.add_space_prefix": False}
    for vocab in vocabulary(ggufs.write(models / "no-prefix.gguf", metadata=no_prefix)):
        assert not vocab.adds_space


def test_eos_is_never_added(models: Path) -> None:
    """A vocabulary that wants EOS after every text would end the answer before it began."""
    wants = {"tokenizer.ggml.add_eos_token": True}
    for vocab in vocabulary(ggufs.write(models / "eos.gguf", metadata=wants)):
        assert ggufs.EOS_ID not in PromptFormat(vocab, None).build(user("hello")).tokens


def test_special_tokens_are_one_token_each(spm: Vocabulary) -> None:
    """What a template writes as [INST] is the token, not six letters."""
    prompt = PromptFormat(spm, ggufs.TEMPLATE).build(user("hello"))
    assert prompt.text == "<s>[INST] hello[/INST]"
    assert (prompt.tokens[1], prompt.tokens[-1]) == (3, 4)


def test_without_a_template_the_texts_are_joined(spm: Vocabulary) -> None:
    """A base model continues what it is given."""
    messages = [*user("Once"), *user("upon")]
    assert PromptFormat(spm, None).build(messages).text == "Once\n\nupon"


@given(RAW.map(b"".join))
def test_any_bytes_reach_the_model(spm: Vocabulary, data: bytes) -> None:
    """NUL bytes and broken UTF-8 are tokenized as they are."""
    tokens = spm.tokenize(data.decode("utf-8", "surrogateescape"))
    written = b"".join(map(spm.piece, tokens))
    assert len(written) >= len(data)
    if b"\xff" not in data and b"\xf0\x9f" not in data.replace("🙂".encode(), b""):
        assert written.removeprefix(b" ") == data


BEYOND = [b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf7\xbf\xbf\xbf"]


@given(st.binary(max_size=60))
@example(BEYOND[0])
@example(BEYOND[1])
@example(BEYOND[2])
def test_no_bytes_abort_the_tokenizers(spm: Vocabulary, bpe: Vocabulary, data: bytes) -> None:
    """Whatever stands in a prompt gets tokens that the vocabulary knows."""
    text = data.decode("utf-8", "surrogateescape")
    for vocab in (spm, bpe):
        assert all(0 <= token < vocab.n_tokens for token in vocab.tokenize(text))


def test_half_a_character_is_refused_in_words(spm: Vocabulary) -> None:
    """JSON can spell surrogates that no bytes stand for."""
    with pytest.raises(UsageError, match=r"U\+D800"):
        spm.tokenize("a\ud800b")


def test_a_text_too_long_to_count_is_refused(
    spm: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp counts bytes in 32 bits."""
    monkeypatch.setattr("lokal.engine.vocabulary.MAX_TEXT", 10)
    assert spm.tokenize("x" * 10)
    with pytest.raises(UsageError, match="11 bytes"):
        spm.tokenize("x" * 11)


def test_a_vocabulary_smaller_than_its_default_bos(models: Path) -> None:
    """llama.cpp takes token 11 for BOS where a file of this kind names none."""
    few = {
        "tokenizer.ggml.tokens": ["a", "b", "c"],
        "tokenizer.ggml.token_type": [1, 1, 1],
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.bos_token_id": None,
        "tokenizer.ggml.eos_token_id": None,
    }
    for vocab in vocabulary(ggufs.write(models / "few.gguf", vocab="bpe", metadata=few)):
        assert vocab.n_tokens == 3
        assert vocab.bos_text == vocab.eos_text == ""


@given(
    st.lists(st.text("ab🙂", max_size=30), min_size=1, max_size=4),
    st.integers(0, 60),
    st.sampled_from([None, ggufs.TEMPLATE]),
)
def test_a_prompt_is_cut_until_it_fits(
    texts: list[str], n_tokens: int, template: str | None
) -> None:
    """It fits, or nothing is left of the longest message; only that message's front is cut."""
    messages: list[Message] = [{"role": "user", "content": text} for text in texts]
    format_ = PromptFormat(Letters(), template)
    whole, fitted = format_.build(messages), format_.fit(messages, n_tokens)
    longest = max(texts, key=len)
    assert fitted.n_dropped <= len(longest)
    assert len(fitted.tokens) <= n_tokens or fitted.n_dropped == len(longest)
    assert len(fitted.tokens) == len(whole.tokens) - fitted.n_dropped
    kept = list(texts)
    kept[texts.index(longest)] = longest[fitted.n_dropped :]
    assert (
        fitted.text
        == format_.build([{**m, "content": k} for m, k in zip(messages, kept, strict=True)]).text
    )
    if len(whole.tokens) <= n_tokens:
        assert fitted == whole
    assert [m["content"] for m in messages] == texts  # what came in stays as it was


def test_cutting_a_huge_prompt_takes_few_attempts(spm: Vocabulary) -> None:
    """A megabyte is cut to a thousand tokens, close to the limit."""
    prompt = PromptFormat(spm, ggufs.TEMPLATE).fit(user("hello world " * 80_000), 1000)
    assert 900 < len(prompt.tokens) <= 1000
    assert prompt.text.endswith("hello world [/INST]")


def test_a_prompt_knows_whether_it_shows_the_tools() -> None:
    """Where the template leaves them out, and where there are none."""
    tool = {"type": "function", "function": {"name": "weather", "parameters": {}}}
    for template, shown in (("{{ messages[0].content }}", False), ("{{ tools }}", True)):
        assert PromptFormat(Letters(), template, (tool,)).build(user("a")).tools_shown == shown
        assert PromptFormat(Letters(), template).build(user("a")).tools_shown
