"""Faults of the network that end in a verified file."""

from __future__ import annotations

from typing import Any

import pytest
from contents import BIG, Q4
from machine import Machine
from standin import Standin

INFO, RESOLVE, CDN = ({"kind": kind} for kind in ("info", "resolve", "cdn"))
LATER = {"kind": "cdn", "range_ge": 1}  # not the first stretch of the file


@pytest.mark.parametrize(
    "fault",
    [
        {"match": INFO, "status": 503},
        {"match": INFO, "status": 429, "retry_after": 0},
        {"match": INFO, "drop": True},
        {"match": INFO, "reset": True},
        {"match": RESOLVE, "drop": True},
        {"match": RESOLVE, "reset": True},
        {"match": RESOLVE, "status": 500},
        {"match": RESOLVE, "status": 502},
        {"match": RESOLVE, "status": 504},
        {"match": CDN, "status": 503, "retry_after": 0},
        {"match": CDN, "status": 408},
    ],
    ids=str,
)
def test_a_request_that_fails_once_is_repeated(
    machine: Machine, hub: Standin, fault: dict[str, Any]
) -> None:
    hub.faults(fault)
    assert machine.pull().read_bytes() == Q4
    assert len(hub.requests(kind=fault["match"]["kind"])) == 2


@pytest.mark.parametrize(
    ("fault", "extra"),
    [
        ({"match": CDN, "cut_after": 3_000_000}, 0),
        ({"match": CDN, "cut_after": 3_000_000, "reset": True}, 1 << 20),
        ({"match": CDN, "cut_after": 1_000_000, "times": None}, 0),
        ({"match": CDN, "cut_after": 2_000_000, "reset": True, "times": 6}, 12 << 20),
        ({"match": CDN, "stall_after": 2_000_000, "stall": 20}, 0),
        ({"match": CDN, "status": 403}, 0),
        ({"match": LATER, "status": 403, "times": 3}, 0),
        ({"match": LATER, "status": 500, "times": 3, "retry_after": 0}, 0),
        ({"match": LATER, "status": 429, "times": 2, "retry_after": 1}, 0),
        ({"match": CDN, "content_length": 10}, 0),
        ({"match": CDN, "content_length": -10}, 0),
        ({"match": CDN, "content_length": "none"}, 0),
        ({"match": CDN, "set_headers": {"Content-Range": "bytes 0-9/10"}}, 8 << 20),
        ({"match": LATER, "set_headers": {"Content-Encoding": "gzip"}}, 8 << 20),
        ({"match": CDN, "no_headers": ["Content-Range"]}, 8 << 20),
    ],
    ids=str,
)
def test_a_transfer_that_breaks_goes_on_where_it_broke(
    machine: Machine, hub: Standin, big: bytes, fault: dict[str, Any], extra: int
) -> None:
    """`extra` is what may be fetched twice: what a reset takes along, or an answer thrown away."""
    hub.faults(fault)
    assert machine.pull("demo/big").read_bytes() == big
    assert hub.sent() <= 1.1 * len(big) + extra


@pytest.mark.parametrize(
    "fault",
    [
        {"match": CDN, "corrupt_at": 7_000_000, "times": 4},
        {"match": CDN, "wrong_range": True},
        {"match": CDN, "truncate_to": 1_000_000},
    ],
    ids=str,
)
def test_wrong_bytes_are_found_out_and_fetched_again(
    machine: Machine, hub: Standin, big: bytes, fault: dict[str, Any]
) -> None:
    hub.faults(fault)
    assert machine.pull("demo/big").read_bytes() == big
    assert hub.sent() <= 2 * len(big) + (1 << 20)


def test_a_server_without_ranges_works(machine: Machine, hub: Standin, big: bytes) -> None:
    hub.faults({"match": CDN, "ignore_range": True, "times": None})
    assert machine.pull("demo/big").read_bytes() == big
    # The answer to the first request is thrown away, with what was in the pipes already.
    assert hub.sent() <= 2 * len(big)


def test_a_server_without_ranges_that_breaks_begins_anew(
    machine: Machine, hub: Standin, big: bytes
) -> None:
    whole = {"match": CDN, "ignore_range": True}
    hub.faults({**whole, "times": 3, "cut_after": 15_000_000}, {**whole, "times": None})
    assert machine.pull("demo/big").read_bytes() == big


def test_an_expired_link_is_asked_for_again(machine: Machine, hub: Standin, big: bytes) -> None:
    """Each link is good for 0.3 s, and the connections are slow."""
    hub.faults({"match": CDN, "throttle": 6_000_000, "times": None})
    for server in hub._servers:  # the handler class of this stand-in
        server.RequestHandlerClass.link_ttl = 0.3  # type: ignore[attr-defined]
    assert machine.pull("demo/big", pace={"piece": 1_000_000}).read_bytes() == big
    assert 403 in {request["status"] for request in hub.requests(kind="cdn")}
    assert len(hub.requests(kind="resolve")) > 1


def test_the_signed_link_is_used_again(machine: Machine, hub: Standin, big: bytes) -> None:
    machine.pull("demo/big")
    assert len(hub.requests(kind="resolve")) == 1
    assert len(hub.requests(kind="cdn")) >= 4
    assert {r["auth"] for r in hub.requests()} == {None}
    assert big == BIG


def test_waits_are_reported(machine: Machine, hub: Standin) -> None:
    hub.faults(
        {"match": INFO, "status": 429, "retry_after": 1},
        {"match": CDN, "status": 429, "headers": {"RateLimit": '"api";r=0;t=1'}},
        {"match": CDN, "status": 503, "headers": {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}},
    )
    waits = [e for e in machine.call("pull", "demo/x")["events"] if e[0] == "wait"]
    assert waits == [
        ["wait", 1.0, "the Hub asked us to slow down"],
        ["wait", 1.0, "the Hub asked us to slow down"],
        ["wait", 0.0, "the Hub failed (HTTP 503)"],
    ]


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"match": CDN, "stall_after": 3000, "stall": 20}, "no data arrives"),
        ({"match": CDN, "cut_after": 3000, "reset": True}, "the connection broke"),
        ({"match": CDN, "status": 403}, "the download link expired"),
        ({"match": RESOLVE, "drop": True}, "the connection broke"),
    ],
    ids=str,
)
def test_the_reason_of_a_wait_is_in_words(
    machine: Machine, hub: Standin, fault: dict[str, Any], why: str
) -> None:
    hub.faults(fault)
    waits = [event for event in machine.call("pull", "demo/x")["events"] if event[0] == "wait"]
    assert [event[2] for event in waits] == [why]


def test_what_was_damaged_on_the_way_is_said(machine: Machine, hub: Standin) -> None:
    hub.faults({"match": CDN, "corrupt_at": 100})
    events = machine.call("pull", "demo/x")["events"]
    assert ["say", "x-Q4_K_M.gguf arrived damaged; fetching it again"] in events


def test_of_raw_parts_only_the_damaged_one_is_fetched_again(machine: Machine, hub: Standin) -> None:
    hub.faults({"match": {"kind": "cdn", "file": "*part2of3"}, "corrupt_at": 100})
    machine.pull(selector="Q6_K")
    names = [request["file"][-8:] for request in hub.requests(kind="cdn")]
    assert sorted(names) == ["part1of3", "part2of3", "part2of3", "part3of3"]


def test_a_truncated_cached_file_is_fetched_again(machine: Machine) -> None:
    path = machine.pull()
    path.resolve().write_bytes(Q4[:100])
    assert machine.pull().read_bytes() == Q4


def test_an_unpublished_file_is_checked_before_it_is_believed(machine: Machine) -> None:
    """Another tool may have left it, which checks nothing."""
    path = machine.pull()
    path.resolve().write_bytes(Q4[::-1])
    (machine.cache / "models--demo--x/refs/main").unlink()
    assert machine.pull().read_bytes() == Q4


def test_the_hub_is_out_of_reach_but_the_weights_are_here(machine: Machine, hub: Standin) -> None:
    path = machine.pull()
    hub.faults({"match": INFO, "drop": True, "times": None})
    result = machine.call("pull", "demo/x")
    assert result["paths"] == [str(path)]
    assert "cannot be asked" in result["events"][-1][1]
    assert machine.locate() == path


def test_a_failed_update_leaves_the_old_weights_in_use(machine: Machine, hub: Standin) -> None:
    old = machine.pull()
    hub.add("demo/x", "x-Q4_K_M.gguf", b"GGUF new" * 1000)
    hub.faults({"match": CDN, "status": 500, "retry_after": 0, "times": None})
    assert machine.call("pull", "demo/x")["error"]["code"] == "network"
    assert machine.locate() == old
    assert old.read_bytes() == Q4
    hub.faults()
    assert machine.pull().read_bytes() == b"GGUF new" * 1000
    assert machine.locate() != old
