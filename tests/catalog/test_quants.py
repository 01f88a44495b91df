"""Which files of a repository are taken."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lokal.catalog.quants import choose
from lokal.errors import ModelNameError

PLAIN = ["README.md", "x-Q4_K_M.gguf", "x-Q4_K_S.gguf", "x-Q8_0.gguf", "x-BF16.gguf", "imatrix.dat"]
SHARDS = [f"Q2_K/x-Q2_K-0000{i}-of-00003.gguf" for i in (1, 2, 3)]

tags = st.sampled_from(["Q2_K", "Q4_K_M", "Q4_K_S", "Q8_0", "IQ1_S", "BF16", "F16", "MXFP4"])


@pytest.mark.parametrize(
    ("files", "selector", "chosen"),
    [
        (PLAIN, None, ["x-Q4_K_M.gguf"]),
        (PLAIN, "Q8_0", ["x-Q8_0.gguf"]),
        (PLAIN, "q4_k_s", ["x-Q4_K_S.gguf"]),
        (PLAIN, "x-BF16.gguf", ["x-BF16.gguf"]),
        (PLAIN, "X-bf16.GGUF", ["x-BF16.gguf"]),
        (["x.gguf"], None, ["x.gguf"]),
        (["x-Q8_0.gguf", "x-Q6_K.gguf"], None, ["x-Q6_K.gguf"]),
        (["x-F16.gguf", "x-BF16.gguf"], "F16", ["x-F16.gguf"]),
        (["x-UD-Q3_K_XL.gguf", "x-Q3_K_XL.gguf"], "Q3_K_XL", ["x-Q3_K_XL.gguf"]),
        (["x-UD-Q3_K_XL.gguf"], "Q3_K_XL", ["x-UD-Q3_K_XL.gguf"]),
        (["x-UD-Q3_K_XL.gguf", "x-Q3_K_XL.gguf"], "UD-Q3_K_XL", ["x-UD-Q3_K_XL.gguf"]),
        (["x.i1-Q4_K_M.gguf", "x.Q4_K_M.gguf"], "Q4_K_M", ["x.Q4_K_M.gguf"]),
        (["cloud-Q4_0.gguf", "cloud-UD-Q4_0.gguf"], "Q4_0", ["cloud-Q4_0.gguf"]),
        (SHARDS[::-1] + PLAIN, "Q2_K", SHARDS),
        (SHARDS + PLAIN, SHARDS[1], SHARDS),
        (SHARDS + PLAIN, "x-Q2_K.gguf", SHARDS),
        (["Q4_K_M/x.gguf", "Q8_0/x.gguf"], "Q8_0", ["Q8_0/x.gguf"]),
        (["x-Q4_K_M.gguf", "mmproj-x-Q4_K_M.gguf"], "Q4_K_M", ["x-Q4_K_M.gguf"]),
        (["x-Q4_K_M.gguf", "x-draft-Q4_K_M.gguf", "x.imatrix.gguf"], None, ["x-Q4_K_M.gguf"]),
        (["Overdraft-Q8_0.gguf"], None, ["Overdraft-Q8_0.gguf"]),
        # The same weights cut in two ways: fewest files, if none is missing.
        ([*SHARDS, "Q2_K/x-Q2_K.gguf"], "Q2_K", ["Q2_K/x-Q2_K.gguf"]),
        ([*SHARDS, "Q2_K/x-Q2_K-00001-of-00002.gguf"], "Q2_K", SHARDS),
    ],
)
def test_the_files_that_are_meant(
    files: list[str], selector: str | None, chosen: list[str]
) -> None:
    assert choose(files, selector).files == tuple(chosen)


@pytest.mark.parametrize(
    ("files", "selector", "message", "hint"),
    [
        ([], None, "no GGUF", "GGUF repository"),
        (["README.md", "mmproj-x.gguf"], None, "no GGUF", "GGUF repository"),
        (PLAIN, "Q5_K_M", "no file matches", "x-Q8_0.gguf"),
        (PLAIN, "Q4_K", "no file matches", "x-Q4_K_M.gguf"),
        (PLAIN, "Q4.K.M", "no file matches", "x-Q4_K_M.gguf"),
        (PLAIN, "", "no file matches", "x-Q4_K_M.gguf"),
        (["x-Q8_0.gguf", "mmproj-x.gguf"], "mmproj-x.gguf", "no file matches", "x-Q8_0.gguf"),
        (["a-Q8_0.gguf", "b-Q8_0.gguf"], "Q8_0", "matches 2", "a-Q8_0.gguf, b-Q8_0.gguf"),
        (["x-IQ1_S.gguf", "x-IQ2_S.gguf"], None, "there are 2", "x-IQ1_S.gguf, x-IQ2_S.gguf"),
        (SHARDS[:2], "Q2_K", "2 of 3 shards", "another"),
    ],
)
def test_nothing_or_too_much_that_fits_is_said_with_the_choices(
    files: list[str], selector: str | None, message: str, hint: str
) -> None:
    with pytest.raises(ModelNameError) as caught:
        choose(files, selector)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_raw_parts_make_one_file() -> None:
    files = [f"grok-1.{q}.gguf.part{i}of2" for q in ("Q2_K", "Q4_K_M") for i in (2, 1)]
    weights = choose(files)
    assert weights.raw_parts
    assert weights.files == ("grok-1.Q4_K_M.gguf.part1of2", "grok-1.Q4_K_M.gguf.part2of2")
    assert weights.first == weights.name == "grok-1.Q4_K_M.gguf"
    assert choose(files, "grok-1.Q2_K.gguf.part1of2").name == "grok-1.Q2_K.gguf"
    with pytest.raises(ModelNameError, match="1 of 2 parts"):
        choose(files[:1])


def test_where_the_whole_is_there_parts_are_not_needed() -> None:
    files = [f"x.Q2_K.gguf.part{i}of2" for i in (1, 2)]
    weights = choose([*files, "x.Q2_K.gguf"])
    assert (weights.raw_parts, weights.files) == (False, ("x.Q2_K.gguf",))
    assert choose(["x.Q2_K.gguf"], files[0]).files == ("x.Q2_K.gguf",)


def test_of_shards_the_first_one_is_loaded() -> None:
    assert choose(SHARDS).first == SHARDS[0]


def test_choices_come_with_their_sizes() -> None:
    sizes = {"x-Q8_0.gguf": 8_540_000_000, **dict.fromkeys(SHARDS, 1_000_000_000)}
    with pytest.raises(ModelNameError) as caught:
        choose(sizes, "Q5_K_M", sizes=sizes)
    choices = "Q2_K/x-Q2_K.gguf (3.00 GB), x-Q8_0.gguf (8.54 GB)"
    assert caught.value.hint == f"choose one of: {choices}"


def test_preferences_decide_among_what_the_selector_leaves() -> None:
    files = ["a-Q4_K_M.gguf", "b-Q4_K_M.gguf", "b-Q8_0.gguf"]
    assert choose(files, "Q4_K_M", prefer=["b-Q4_K_M.gguf"]).files == ("b-Q4_K_M.gguf",)
    assert choose(files, None, prefer=["Q8_0"]).files == ("b-Q8_0.gguf",)


@given(st.lists(tags, min_size=1, unique=True), st.data())
def test_a_tag_finds_exactly_the_file_that_carries_it(
    present: list[str], data: st.DataObject
) -> None:
    files = [f"model-7B.{tag}.gguf" for tag in present] + ["mmproj-model.F16.gguf"]
    wanted = data.draw(tags)
    if wanted in present:
        assert choose(files, wanted.lower()).files == (f"model-7B.{wanted}.gguf",)
    else:
        with pytest.raises(ModelNameError):
            choose(files, wanted)


@given(st.integers(min_value=1, max_value=40), st.randoms(use_true_random=False))
def test_shards_come_all_and_in_order(count: int, random: Random) -> None:
    shards = [f"m-Q8_0-{i:05}-of-{count:05}.gguf" for i in range(1, count + 1)]
    shuffled = sorted(shards, key=lambda _: random.random())
    assert choose(shuffled).files == tuple(shards)


@given(st.lists(st.text(max_size=30)), st.none() | st.text(max_size=20))
def test_any_listing_gives_files_of_it_or_an_expected_error(
    files: list[str], selector: str | None
) -> None:
    try:
        chosen = choose(files, selector)
    except ModelNameError:
        return
    assert chosen.files
    assert set(chosen.files) <= set(files)
