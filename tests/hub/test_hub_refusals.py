"""What cannot be pulled: the right error, with nothing left behind."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest
from contents import Q4
from machine import Machine
from standin import GOOD_TOKEN, Standin

from lokal.errors import (
    AccessError,
    IntegrityError,
    LokalError,
    ModelNameError,
    NetworkError,
    OfflineError,
    SpaceError,
    UsageError,
)

INFO, RESOLVE, CDN = ({"kind": kind} for kind in ("info", "resolve", "cdn"))


def sibling(**changes: Any) -> dict[str, Any]:
    """A file as model_info describes it."""
    good = {"rfilename": "x-Q4_K_M.gguf", "size": 9, "blobId": "0" * 40}
    return {**good, "lfs": {"sha256": "0" * 64, "size": 9, "pointerSize": 134}, **changes}


def test_gated_weights_name_the_page_where_access_is_asked(machine: Machine, hub: Standin) -> None:
    hub.repos["demo/x"] = {"gated": "manual"}
    assert f"{hub.endpoint}/demo/x" in machine.refuse(AccessError)["text"]
    machine.env["HF_TOKEN"] = GOOD_TOKEN
    assert "gated" in machine.refuse(AccessError)["text"]
    assert machine.partials() == []


@pytest.mark.parametrize("token", [None, GOOD_TOKEN])
def test_a_missing_or_private_repository(machine: Machine, hub: Standin, token: str | None) -> None:
    if token:
        machine.env["HF_TOKEN"] = token
    hub.repos["demo/x"] = {"private": True}
    for repo in ("demo/x", "demo/none"):
        result = machine.refuse(ModelNameError, repo)
        assert "does not exist, or is private" in result["text"]


@pytest.mark.parametrize("token", ["hf_bad", "hf_\nbad", "hf_bäd", "hf_b\x01d", "hf bad"])
def test_an_invalid_token_is_named(machine: Machine, token: str) -> None:
    machine.env["HF_TOKEN"] = token
    assert "the access token" in machine.refuse(AccessError)["text"]


def test_a_newline_at_the_end_of_a_token_is_nothing_to_fail_for(
    machine: Machine, hub: Standin
) -> None:
    hub.repos["demo/private"] = {"private": True}
    hub.add("demo/private", "x-Q4_K_M.gguf", Q4)
    machine.env["HF_TOKEN"] = f"{GOOD_TOKEN}\n"
    assert machine.pull("demo/private").read_bytes() == Q4


def test_a_disabled_repository(machine: Machine, hub: Standin) -> None:
    hub.repos["demo/x"] = {"disabled": True}
    assert "disabled" in machine.refuse(AccessError)["text"]


@pytest.mark.parametrize("variable", ["LOKAL_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_means_no_request(machine: Machine, hub: Standin, variable: str) -> None:
    machine.env[variable] = "1"
    assert "switched off" in machine.refuse(OfflineError)["text"]
    assert hub.requests() == []


def test_offline_is_no_failure_where_the_weights_are_here(machine: Machine, hub: Standin) -> None:
    path = machine.pull()
    hub.log.clear()
    machine.env["LOKAL_OFFLINE"] = "1"
    assert machine.pull() == path
    assert hub.requests() == []


def test_no_such_quantization_lists_the_choices(machine: Machine) -> None:
    text = machine.refuse(ModelNameError, selector="Q5_K_M")["text"]
    assert "x-Q8_0.gguf (0.00 GB)" in text
    assert "mmproj" not in text


def test_no_such_revision(machine: Machine) -> None:
    assert "no revision 'v7'" in machine.refuse(ModelNameError, revision="v7")["text"]


@pytest.mark.parametrize("revision", ["../../x", "/etc", "a\\b", "C:x", "", "a b", "."])
def test_a_revision_that_leads_out_of_the_cache(
    machine: Machine, hub: Standin, revision: str
) -> None:
    assert "no revision" in machine.refuse(UsageError, revision=revision)["text"]
    assert hub.requests() == []


def test_a_repository_without_weights(machine: Machine, hub: Standin) -> None:
    hub.add("demo/none", "README.md", b"#")
    assert "no GGUF file" in machine.refuse(ModelNameError, "demo/none")["text"]


def test_a_raw_part_is_missing(machine: Machine, hub: Standin) -> None:
    hub.add("demo/parts", "x.Q4_K_M.gguf.part1of2", b"GGUF")
    assert "1 of 2 parts" in machine.refuse(ModelNameError, "demo/parts")["text"]


@pytest.mark.parametrize(
    "name",
    [
        "../../../x-Q4_K_M.gguf",
        "/x-Q4_K_M.gguf",
        "a/../../x-Q4_K_M.gguf",
        "..\\x-Q4_K_M.gguf",
        "C:x-Q4_K_M.gguf",
        "a//x-Q4_K_M.gguf",
        "./x-Q4_K_M.gguf",
        "x\x1b[2J-Q4_K_M.gguf",
        "x\0-Q4_K_M.gguf",
    ],
)
def test_a_name_that_leads_out_of_the_cache(
    machine: Machine, hub: Standin, tmp_path: Path, name: str
) -> None:
    hub.repos["demo/x"] = {"info": {"siblings": [sibling(rfilename=name)]}}
    before = sorted(tmp_path.rglob("*"))
    assert "outside the cache" in machine.refuse(IntegrityError)["text"]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "info",
    [
        {"siblings": [sibling(size=None)]},
        {"siblings": [sibling(size=-1)]},
        {"siblings": [sibling(lfs={"sha256": "../../../../x", "size": 9, "pointerSize": 1})]},
        {"siblings": [sibling(lfs=None, blobId="../../x")]},
        {"siblings": [sibling(lfs=None, blobId=None)]},
    ],
    ids=str,
)
def test_a_file_without_size_or_checksum(
    machine: Machine, hub: Standin, info: dict[str, Any]
) -> None:
    hub.repos["demo/x"] = {"info": info}
    assert "cannot be verified" in machine.refuse(IntegrityError)["text"]
    assert not machine.cache.exists()


def test_a_commit_that_leads_out_of_the_cache(machine: Machine, hub: Standin) -> None:
    hub.repos["demo/x"] = {"info": {"sha": "../../../x"}}
    assert "not the Hub" in machine.refuse(NetworkError)["text"]
    assert not machine.cache.exists()


def test_too_little_room_is_said_before_the_transfer(machine: Machine, hub: Standin) -> None:
    hub.repos["demo/x"] = {"sizes": {"x-Q4_K_M.gguf": 10**17}}
    assert "needs 100000000.00 GB" in machine.refuse(SpaceError)["text"]
    assert [request["kind"] for request in hub.requests()] == ["info"]


def test_a_disk_that_fills_up_midway(machine: Machine, hub: Standin, big: bytes) -> None:
    """A limit of the process stands in for it; what has arrived is kept for the next time."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, 10_000_000))

    machine.refuse(SpaceError, "demo/big", preexec_fn=limit)
    sent = hub.sent()
    assert len(machine.partials()) == 2
    assert machine.locate("demo/big") is None
    assert machine.pull("demo/big").read_bytes() == big
    assert hub.sent() <= 1.1 * len(big) + (16 << 20)
    assert hub.sent() - sent < len(big)


def test_damage_that_lasts_leaves_nothing(machine: Machine, hub: Standin) -> None:
    hub.faults({"match": CDN, "corrupt_at": 100, "times": None})
    assert "checksum is wrong" in machine.refuse(IntegrityError)["text"]
    assert len(hub.requests(kind="cdn")) == 2
    assert machine.partials() == []
    assert not list(machine.cache.rglob("*.gguf*"))
    assert machine.locate() is None


@pytest.mark.parametrize(
    ("fault", "expected", "words"),
    [
        ({"match": INFO, "status": 503, "retry_after": 0}, NetworkError, "HTTP 503"),
        ({"match": INFO, "status": 429, "retry_after": 3600}, NetworkError, "slow down"),
        ({"match": INFO, "drop": True}, NetworkError, "check the connection"),
        ({"match": INFO, "captive": True}, NetworkError, "login page"),
        ({"match": INFO, "json": {"hello": 1}}, NetworkError, "not the Hub"),
        ({"match": INFO, "json": [1]}, NetworkError, "not the Hub"),
        ({"match": INFO, "status": 403}, AccessError, "refuses demo/x"),
        ({"match": INFO, "loop": True}, NetworkError, "check the connection"),
        ({"match": RESOLVE, "captive": True}, NetworkError, "login page"),
        ({"match": RESOLVE, "loop": True}, NetworkError, "check the connection"),
        ({"match": RESOLVE, "drop": True}, NetworkError, "goes on from here"),
        ({"match": RESOLVE, "status": 403}, AccessError, "refuses demo/x"),
        ({"match": CDN, "status": 500, "retry_after": 0}, NetworkError, "HTTP 500"),
        ({"match": CDN, "status": 429, "retry_after": 3600}, NetworkError, "slow down"),
        ({"match": CDN, "status": 403}, NetworkError, "goes on from here"),
        ({"match": CDN, "captive": True}, NetworkError, "login page"),
        ({"match": CDN, "truncate_to": 10}, IntegrityError, "10 bytes instead of"),
        ({"match": CDN, "status": 416}, IntegrityError, "ends before byte"),
        ({"match": CDN, "cut_after": 0}, NetworkError, "goes on from here"),
        ({"match": CDN, "stall_after": 0, "stall": 30}, NetworkError, "goes on from here"),
        ({"match": CDN, "set_headers": {"Content-Range": "x"}}, NetworkError, "asked for bytes"),
    ],
    ids=str,
)
def test_a_fault_that_lasts(
    machine: Machine, hub: Standin, fault: dict[str, Any], expected: type[LokalError], words: str
) -> None:
    hub.faults({**fault, "times": None})
    pace = {"timeout": 0.3, "tries": 3}
    assert words in machine.refuse(expected, pace=pace)["text"]
    assert machine.locate() is None
    assert machine.partials() == []


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "nonsense"])
def test_an_unreachable_hub(machine: Machine, endpoint: str) -> None:
    machine.env["HF_ENDPOINT"] = endpoint
    assert endpoint in machine.refuse(NetworkError)["text"]


def test_a_hub_that_never_answers(machine: Machine, hub: Standin) -> None:
    hub.faults({"match": CDN, "delay": 30, "times": None})
    machine.refuse(NetworkError, pace={"timeout": 0.3, "tries": 2})


def test_a_cache_that_cannot_be_written(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    machine.env["HF_HUB_CACHE"] = str(tmp_path / "file" / "cache")
    assert "HF_HUB_CACHE" in machine.refuse(UsageError)["text"]


def test_a_hostile_redirect_gets_no_token(machine: Machine, hub: Standin) -> None:
    """Not even to another port of the same host, nor as a relative-looking one."""
    machine.env["HF_TOKEN"] = GOOD_TOKEN
    for location in (f"{hub.cdn}/steal", f"//{hub.cdn.removeprefix('http://')}/steal"):
        headers = {"Location": location}
        hub.faults({"match": RESOLVE, "status": 302, "headers": headers, "times": None})
        machine.refuse(NetworkError, pace={"tries": 2})
    stolen = [request for request in hub.requests(role="cdn") if "steal" in request["path"]]
    assert len(stolen) >= 2
    assert {request["auth"] for request in stolen} == {None}


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://"])
def test_a_redirect_to_no_web_server(machine: Machine, hub: Standin, location: str) -> None:
    hub.faults({"match": RESOLVE, "status": 302, "headers": {"Location": location}, "times": None})
    machine.refuse(NetworkError, pace={"tries": 2})
