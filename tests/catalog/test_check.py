"""models.toml compared with what the Hub lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from lokal.catalog.check import check
from lokal.catalog.entry import Entry, License, Origin
from lokal.errors import ModelNameError

GB = 10**9


def entry(**fields: Any) -> Entry:
    return Entry(
        **{
            "ref": "x",
            "title": "X",
            "license": License(id="MIT", name="MIT", url="", open_source=True),
            "origin": Origin(name="me"),
            "confidence": "seen",
            "repo": "me/x-GGUF",
            "file": "x-{quant}.gguf",
            "size": 4 * GB,
            **fields,
        }
    )


def problems(entry: Entry, listing: Mapping[str, int | None]) -> tuple[str, ...]:
    return next(check([entry], lambda _repo: listing)).problems


SHARDS = {f"x-Q4_K_M-0000{i}-of-00002.gguf": 2 * GB for i in (1, 2)}
PARTS = {f"x-Q4_K_M.gguf.part{i}of2": 2 * GB for i in (1, 2)}
RANGE = {
    "x-Q4_K_M.gguf": 4 * GB,
    "x-Q2_K.gguf": 2 * GB,
    "x-Q8_0.gguf": 8 * GB,
    "y-F16.gguf": 99 * GB,
}


@pytest.mark.parametrize(
    ("fields", "listing"),
    [
        ({}, {"x-Q4_K_M.gguf": 4 * GB, "README.md": 1}),
        ({}, {"x-q4_k_m.gguf": 4 * GB}),
        ({}, {"x-Q4_K_M.gguf": int(4.1 * GB), "mmproj-x.gguf": 1}),
        (
            {"size_range": (2 * GB, 8 * GB)},
            {
                "x-Q4_K_M.gguf": 4 * GB,
                "x-Q2_K.gguf": 2 * GB,
                "x-Q8_0.gguf": 8 * GB,
                "y-F16.gguf": 99 * GB,
            },
        ),
        ({"split": "shards"}, SHARDS),
        ({"split": "parts"}, PARTS),
        ({"file": "{quant}/x-{quant}.gguf"}, {"Q4_K_M/x-Q4_K_M.gguf": 4 * GB}),
        ({"size": None}, {"x-Q4_K_M.gguf": None}),
    ],
)
def test_what_is_as_it_was_is_no_finding(
    fields: dict[str, Any], listing: dict[str, int | None]
) -> None:
    assert problems(entry(**fields), listing) == ()


@pytest.mark.parametrize(
    ("fields", "listing", "words"),
    [
        ({}, {"README.md": 1}, ["x-Q4_K_M.gguf is not there, but no GGUF file"]),
        ({}, {"x.Q4_K_M.gguf": 4 * GB}, ["x-Q4_K_M.gguf is not there, but x.Q4_K_M.gguf"]),
        ({}, {"x-Q4_K_M.gguf": 5 * GB}, ["has 5 GB, not 4"]),
        (
            {},
            {f"x-Q4_K_M-0000{i}-of-00002.gguf": 2 * GB for i in (1, 2)},
            ["is split into shards, not nothing"],
        ),
        ({"split": "shards"}, {"x-Q4_K_M.gguf": 4 * GB}, ["is split into nothing, not shards"]),
        ({"split": "shards"}, {"x-Q4_K_M-00001-of-00002.gguf": 4 * GB}, ["1 of 2 pieces"]),
        (
            {"size_range": (2 * GB, 8 * GB)},
            {"x-Q4_K_M.gguf": 4 * GB},
            ["smallest has", "largest has"],
        ),
    ],
)
def test_what_has_moved_is_said(
    fields: dict[str, Any], listing: dict[str, int | None], words: list[str]
) -> None:
    found = problems(entry(**fields), listing)
    assert len(found) == len(words)
    for problem, word in zip(found, words, strict=True):
        assert word in problem


def test_a_repository_that_is_gone_is_a_finding_and_not_the_end() -> None:
    def listing(repo: str) -> Mapping[str, int | None]:
        if repo == "me/gone":
            raise ModelNameError("me/gone is not there", hint="")
        return {"x-Q4_K_M.gguf": 4 * GB}

    embedded = entry(repo=None, file=None, embedded="x.gguf")
    findings = list(check([entry(repo="me/gone"), embedded, entry()], listing))
    assert [(f.repo, f.problems) for f in findings] == [
        ("me/gone", ("me/gone is not there",)),
        ("me/x-GGUF", ()),
    ]
