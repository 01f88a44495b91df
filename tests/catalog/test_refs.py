"""What the text of a model name means."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lokal.catalog.refs import NameRef, PathRef, RepoRef, parse
from lokal.errors import ModelNameError

words = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
repo_words = st.from_regex(r"[A-Za-z0-9](?:[._-]?[A-Za-z0-9]){0,12}", fullmatch=True)
names = st.builds(NameRef, words, st.none() | words, st.none() | words).filter(
    lambda ref: not str(ref).lower().endswith(".gguf")
)
repos = st.builds("{}/{}".format, repo_words, repo_words).filter(lambda x: not x.endswith(".git"))
selectors = st.lists(words, min_size=1, max_size=3).map("/".join)


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("mistral", NameRef("mistral")),
        ("mixtral:8x7b", NameRef("mixtral", "8x7b")),
        ("mistral@Q5_K_M", NameRef("mistral", None, "Q5_K_M")),
        ("mistral:7b-v0.2@q8_0", NameRef("mistral", "7b-v0.2", "q8_0")),
        ("bartowski/Qwen2.5-7B-GGUF", RepoRef("bartowski/Qwen2.5-7B-GGUF")),
        ("owner/repo:Q4_K_M", RepoRef("owner/repo", "Q4_K_M")),
        ("hf.co/owner/repo:Q4_K_M", RepoRef("owner/repo", "Q4_K_M")),
        ("huggingface.co/owner/repo", RepoRef("owner/repo")),
        ("https://huggingface.co/owner/repo", RepoRef("owner/repo")),
        ("https://huggingface.co/owner/repo/", RepoRef("owner/repo")),
        ("HTTPS://HF.co/owner/repo", RepoRef("owner/repo")),
        ("hf.co/owner/repo.gguf", RepoRef("owner/repo.gguf")),
        ("owner/repo:x.gguf", RepoRef("owner/repo", "x.gguf")),
        ("o/r:Q2_K/x-00001-of-00002.gguf", RepoRef("o/r", "Q2_K/x-00001-of-00002.gguf")),
        ("x.gguf", PathRef("x.gguf")),
        ("my models/x.GGUF", PathRef("my models/x.GGUF")),
        ("models/x.gguf", PathRef("models/x.gguf")),
        ("a/b/c/x.gguf", PathRef("a/b/c/x.gguf")),
        ("/models/x", PathRef("/models/x")),
        ("./x", PathRef("./x")),
        ("../x:y:z", PathRef("../x:y:z")),
        ("~/x.gguf", PathRef("~/x.gguf")),
        (r"C:\models\x.gguf", PathRef(r"C:\models\x.gguf")),
        ("d:/models/x", PathRef("d:/models/x")),
    ],
)
def test_each_form_is_recognised(text: str, ref: object) -> None:
    assert parse(text) == ref


@pytest.mark.parametrize(
    ("text", "part_of_message"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("my model", "space"),
        ("mistral\n", "control"),
        ("/models/\x00x.gguf", "control"),
        ("a:b:c", "too many colons"),
        ("owner/repo:a:b", "too many colons"),
        ("mistral@Q4:7b", "wrong order"),
        ("mistral:", "no model name"),
        ("mistral@", "no model name"),
        ("@Q4", "no model name"),
        ("m" * 97, "no model name"),
        ("m" * 5000, "5000 characters"),
        ("a/b/c", "no repository name"),
        ("owner/--x", "no repository name"),
        ("owner/a..b", "no repository name"),
        ("hf.co/", "no repository name"),
        ("hf.co/mistral", "no repository name"),
        ("owner/repo:", "no quantization"),
        ("owner/repo:../x.gguf", "no quantization"),
        ("https://example.com/x.gguf", "not a link to huggingface.co"),
    ],
)
def test_bad_text_is_refused_with_a_reason_and_a_hint(text: str, part_of_message: str) -> None:
    with pytest.raises(ModelNameError) as caught:
        parse(text)
    assert part_of_message in caught.value.message
    assert caught.value.hint


def test_a_link_to_a_file_page_names_the_spelling_that_works() -> None:
    with pytest.raises(ModelNameError) as caught:
        parse("https://huggingface.co/owner/repo/blob/main/sub/x.gguf?download=true")
    spelling = caught.value.hint.split()[-1]
    assert parse(spelling) == RepoRef("owner/repo", "sub/x.gguf")


@given(names | st.builds(RepoRef, repos, st.none() | selectors))
def test_a_ref_survives_being_written_and_read(ref: NameRef | RepoRef) -> None:
    assert parse(str(ref)) == ref


@given(st.text() | st.text(alphabet="ab.:@/-~ \\\n\udc80é", max_size=30) | words | selectors)
@example("a/b:\udc80")
def test_any_text_gives_a_ref_that_round_trips_or_a_model_name_error(text: str) -> None:
    try:
        ref = parse(text)
    except ModelNameError:
        return
    assert parse(str(ref)) == ref
    if isinstance(ref, PathRef):
        assert str(ref) == text
