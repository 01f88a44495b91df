"""Weights from the Hub: the real client, in a process of its own, against a stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_standin import GOOD_TOKEN, Fault, Repo, Standin

from lokal.errors import (
    AccessError,
    IntegrityError,
    LoadError,
    LokalError,
    ModelNameError,
    NetworkError,
    OfflineError,
    SpaceError,
    UsageError,
)

# Reads {"call", "source", "selector"}; writes what came of it as the only line on stdout.
DRIVER = """
import json, sys
from lokal import settings
from lokal.catalog.entry import Entry, License, Origin
from lokal.errors import LokalError
from lokal.hub.client import Progress, fetch, locate

order = json.loads(sys.argv[1])
events = []

class Recorder(Progress):
    def begin(self, file, size): events.append(["begin", file, size])
    def at(self, done): events.append(["at", done])
    def end(self): events.append(["end"])
    def wait(self, seconds, reason): events.append(["wait", seconds])

def forbid(event, _):
    if order.get("no_network") and event in ("socket.connect", "socket.getaddrinfo"):
        raise RuntimeError("network")

sys.addaudithook(forbid)
source = order["source"]
if isinstance(source, dict):
    source = Entry(
        ref="m", title="M", license=License(id="MIT", name="MIT", url="", open_source=True),
        origin=Origin(name="me"), confidence="seen", **source,
    )
result = {"events": events}
try:
    if order["call"] == "locate":
        path = locate(source, order["selector"], settings.load())
    else:
        path = fetch(source, order["selector"], settings.load(), Recorder())
    result["path"] = path and str(path)
except LokalError as error:
    result["error"] = error.as_dict()
result["heavy"] = "huggingface_hub" in sys.modules
print(json.dumps(result))
"""

Q4, Q8 = b"GGUF four" * 1000, b"GGUF eight" * 2000
FILES = {"README.md": b"# x", "x-Q4_K_M.gguf": Q4, "x-Q8_0.gguf": Q8, "mmproj-x.gguf": b"GGUF"}
SHARDS = {f"Q2_K/x-Q2_K-0000{i}-of-00002.gguf": b"GGUF" + bytes([i]) for i in (1, 2)}


class Machine:
    """A user's machine: a cache of its own, and the stand-in as its Hub."""

    def __init__(self, tmp_path: Path, hub: Standin) -> None:
        self.cache = tmp_path / "cache"
        self.hub = hub
        self.env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "HOME": str(tmp_path),
            "HF_ENDPOINT": hub.endpoint,
            "HF_HUB_CACHE": str(self.cache),
            "LOKAL_CONFIG_DIR": str(tmp_path / "config"),
            "LOKAL_STATE_DIR": str(tmp_path / "state"),
        }

    def call(
        self,
        call: str,
        source: str | dict[str, str],
        selector: str | None = None,
        **options: object,
    ) -> dict[str, Any]:
        order = {"call": call, "source": source, "selector": selector, **options}
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, json.dumps(order)],
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        assert done.stdout.count("\n") == 1
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def fetch(self, source: str | dict[str, str] = "demo/x", selector: str | None = None) -> Path:
        result = self.call("fetch", source, selector)
        assert "error" not in result, result
        return Path(result["path"])

    def refuse(
        self, expected: type[LokalError], selector: str | None = None, source: str = "demo/x"
    ) -> str:
        """Fetch, expect that error; its message and hint as one text."""
        error = self.call("fetch", source, selector).get("error")
        assert error is not None
        assert error["code"] == expected.code, error
        assert "\n" not in error["message"]
        assert error["hint"]
        return f"{error['message']} {error['hint']}"

    def locate(
        self, source: str | dict[str, str] = "demo/x", selector: str | None = None
    ) -> Path | None:
        """Look without any network, and without the heavy library."""
        result = self.call("locate", source, selector, no_network=True)
        assert not result["heavy"]
        return result["path"] and Path(result["path"])


@pytest.fixture
def hub() -> Iterator[Standin]:
    with Standin() as standin:
        standin.repos["demo/x"] = Repo({**FILES, **SHARDS})
        yield standin


@pytest.fixture
def machine(tmp_path: Path, hub: Standin) -> Machine:
    return Machine(tmp_path, hub)


# -- what goes well


def test_the_usual_quantization_arrives_where_the_ecosystem_looks(
    machine: Machine, hub: Standin
) -> None:
    path = machine.fetch()
    assert path.read_bytes() == Q4
    assert (
        path
        == machine.cache / f"models--demo--x/snapshots/{hub.repos['demo/x'].commit}/x-Q4_K_M.gguf"
    )
    # No telemetry, nothing asked twice.
    assert hub.log == ["info demo/x", "head x-Q4_K_M.gguf", "get x-Q4_K_M.gguf"]
    code = "import huggingface_hub as h; print(h.try_to_load_from_cache('demo/x', 'x-Q4_K_M.gguf'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=machine.env, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()).samefile(path)


def test_cached_weights_are_found_without_any_network(machine: Machine, hub: Standin) -> None:
    assert machine.locate() is None
    path = machine.fetch()
    hub.log.clear()
    machine.env["HF_ENDPOINT"] = "http://127.0.0.1:9"
    assert machine.locate() == path
    assert machine.locate("demo/x", "q4_k_m") == path
    assert machine.locate("demo/x", "Q8_0") is None
    assert machine.locate("demo/y") is None
    assert hub.log == []


def test_what_another_tool_downloaded_is_found(machine: Machine) -> None:
    code = "import huggingface_hub as h; print(h.hf_hub_download('demo/x', 'x-Q8_0.gguf'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=machine.env, capture_output=True, text=True, check=True
    )
    located = machine.locate()
    assert located is not None
    assert located.samefile(done.stdout.strip())


def test_the_cache_follows_hf_home(machine: Machine, tmp_path: Path) -> None:
    del machine.env["HF_HUB_CACHE"]
    machine.env["HF_HOME"] = str(tmp_path / "home")
    path = machine.fetch()
    assert path.is_relative_to(tmp_path / "home" / "hub")
    assert machine.locate() == path


def test_nothing_is_downloaded_twice(machine: Machine, hub: Standin) -> None:
    path = machine.fetch()
    hub.log.clear()
    assert machine.fetch() == path
    assert hub.log == ["info demo/x"]


def test_a_split_model_is_all_its_shards(machine: Machine) -> None:
    first = machine.fetch(selector="Q2_K")
    assert first.name == "x-Q2_K-00001-of-00002.gguf"
    assert sorted(path.name for path in first.parent.iterdir()) == [
        "x-Q2_K-00001-of-00002.gguf",
        "x-Q2_K-00002-of-00002.gguf",
    ]
    assert machine.locate("demo/x", "Q2_K") == first
    first.with_name("x-Q2_K-00002-of-00002.gguf").unlink()
    assert machine.locate("demo/x", "Q2_K") is None


def test_an_entry_means_its_own_quantization_whatever_is_cached(machine: Machine) -> None:
    entry = {"repo": "demo/x", "file": "x-{quant}.gguf", "quant": "Q8_0"}
    machine.fetch("demo/x", "Q4_K_M")
    assert machine.locate(entry) is None
    path = machine.fetch(entry)
    assert path.name == "x-Q8_0.gguf"
    assert machine.locate(entry) == path
    assert machine.locate(entry, "Q4_K_M") == path.with_name("x-Q4_K_M.gguf")


def test_the_registrys_file_name_settles_what_a_quantization_leaves_open(
    machine: Machine, hub: Standin
) -> None:
    hub.repos["demo/two"] = Repo({"a-Q4_K_M.gguf": b"GGUFa", "b-Q4_K_M.gguf": b"GGUFb"})
    path = machine.fetch({"repo": "demo/two", "file": "b-{quant}.gguf"})
    assert path.read_bytes() == b"GGUFb"


def test_progress_counts_to_the_size(machine: Machine) -> None:
    events = machine.call("fetch", "demo/x")["events"]
    assert events[0] == ["begin", "x-Q4_K_M.gguf", len(Q4)]
    assert events[-2:] == [["at", len(Q4)], ["end"]]


def test_a_token_opens_gated_and_private_repositories(machine: Machine, hub: Standin) -> None:
    hub.repos["demo/x"] = Repo(FILES, private=True)
    machine.env["HF_TOKEN"] = GOOD_TOKEN
    assert machine.fetch().read_bytes() == Q4


def test_the_library_keeps_quiet_whatever_is_set(machine: Machine, hub: Standin) -> None:
    """`call` checks that stderr is empty."""
    machine.env |= {
        "HF_DEBUG": "1",
        "HF_HUB_VERBOSITY": "nonsense",
        "HF_HUB_ENABLE_HF_TRANSFER": "1",
        "TQDM_POSITION": "-1",
    }
    hub.faults.append(Fault("get", cut_after=3000))
    machine.fetch()


# -- what goes wrong, and then well


@pytest.mark.parametrize(
    "fault",
    [
        Fault("info", status=503),
        Fault("info", status=429, headers={"Retry-After": "0"}),
        Fault("info", drop=True),
        Fault("get", status=500),
        Fault("get", status=403),
        Fault("get", cut_after=3000),
        Fault("get", cut_after=3000, reset=True),
        Fault("head", drop=True),
    ],
    ids=["info-503", "info-429", "info-drop", "get-500", "get-403", "cut", "reset", "head-drop"],
)
def test_a_passing_failure_is_survived(machine: Machine, hub: Standin, fault: Fault) -> None:
    hub.faults.append(fault)
    assert machine.fetch().read_bytes() == Q4
    assert fault.times == 0


def test_a_wait_is_reported(machine: Machine, hub: Standin) -> None:
    hub.faults.append(Fault("info", status=429, headers={"Retry-After": "1"}))
    assert machine.call("fetch", "demo/x")["events"][0] == ["wait", 1.0]


def test_weights_damaged_on_the_way_are_removed_and_fetched_again(
    machine: Machine, hub: Standin
) -> None:
    hub.faults.append(Fault("get", corrupt=True))
    assert "sha256" in machine.refuse(IntegrityError)
    assert machine.locate() is None
    assert not [path for path in machine.cache.rglob("*") if path.name.endswith(".gguf")]
    assert machine.fetch().read_bytes() == Q4


def test_a_truncated_cached_file_is_fetched_again(machine: Machine) -> None:
    path = machine.fetch()
    path.resolve().write_bytes(Q4[:100])
    assert machine.fetch().read_bytes() == Q4


def test_an_unpublished_file_is_checked_before_it_is_believed(machine: Machine) -> None:
    """It may stem from a run that died between transfer and check."""
    path = machine.fetch()
    path.resolve().write_bytes(Q4[::-1])
    (machine.cache / "models--demo--x/refs/main").unlink()
    assert machine.fetch().read_bytes() == Q4


def test_an_update_that_fails_leaves_the_old_weights_in_use(machine: Machine, hub: Standin) -> None:
    old = machine.fetch()
    hub.repos["demo/x"] = Repo({"x-Q4_K_M.gguf": b"GGUF new" * 1000})
    hub.faults.append(Fault("get", status=404, times=None))
    machine.refuse(NetworkError)
    assert machine.locate() == old
    hub.faults.clear()
    assert machine.fetch().read_bytes() == b"GGUF new" * 1000
    assert machine.locate() != old


# -- what goes wrong for good


def test_gated_weights_name_the_page_where_access_is_asked(machine: Machine, hub: Standin) -> None:
    hub.repos["demo/x"] = Repo(FILES, gated=True)
    assert f"{hub.endpoint}/demo/x" in machine.refuse(AccessError)
    machine.env["HF_TOKEN"] = GOOD_TOKEN
    assert "gated" in machine.refuse(AccessError)


def test_a_missing_or_private_repository(machine: Machine) -> None:
    assert "does not exist, or is private" in machine.refuse(ModelNameError, source="demo/none")
    machine.env["HF_TOKEN"] = GOOD_TOKEN
    assert "does not exist, or is private" in machine.refuse(ModelNameError, source="demo/none")


def test_an_invalid_token_is_named(machine: Machine) -> None:
    machine.env["HF_TOKEN"] = "hf_bad"  # noqa: S105
    assert "HF_TOKEN is invalid" in machine.refuse(AccessError)


def test_a_disabled_repository(machine: Machine, hub: Standin) -> None:
    hub.repos["demo/x"] = Repo(FILES, disabled=True)
    assert "disabled" in machine.refuse(AccessError)


@pytest.mark.parametrize("variable", ["LOKAL_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_means_no_request(machine: Machine, hub: Standin, variable: str) -> None:
    machine.env[variable] = "1"
    assert "switched off" in machine.refuse(OfflineError)
    assert hub.log == []


def test_no_such_quantization_lists_the_choices(machine: Machine) -> None:
    text = machine.refuse(ModelNameError, selector="Q5_K_M")
    assert "x-Q8_0.gguf" in text
    assert "mmproj" not in text


def test_raw_parts_are_refused_before_the_transfer(machine: Machine, hub: Standin) -> None:
    hub.repos["demo/x"] = Repo({f"x.Q4_K_M.gguf.part{i}of2": b"GGUF" for i in (1, 2)})
    assert "raw parts" in machine.refuse(LoadError)
    assert hub.log == ["info demo/x"]


def test_too_little_room_is_said_before_the_transfer(machine: Machine, hub: Standin) -> None:
    hub.repos["demo/x"] = Repo(FILES, declared={"x-Q4_K_M.gguf": 10**17})
    assert "100000000.00 GB" in machine.refuse(SpaceError)
    assert hub.log == ["info demo/x"]


def test_a_file_of_another_size_than_announced(machine: Machine, hub: Standin) -> None:
    hub.repos["demo/x"] = Repo(FILES, declared={"x-Q4_K_M.gguf": len(Q4) + 1})
    assert f"{len(Q4)} bytes instead of {len(Q4) + 1}" in machine.refuse(IntegrityError)
    assert machine.locate() is None


def test_names_that_lead_out_of_the_cache_are_ignored(machine: Machine, hub: Standin) -> None:
    hub.repos["demo/x"] = Repo({"../../../x-Q4_K_M.gguf": Q4})
    assert "no GGUF file" in machine.refuse(ModelNameError)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("info", status=503, headers={"Retry-After": "0"}, times=None), "HTTP 503"),
        (Fault("info", status=429, headers={"Retry-After": "3600"}, times=None), "slow down"),
        (Fault("info", drop=True, times=None), "check the connection"),
        (Fault("info", login_page=True, times=None), "login page"),
        (Fault("info", body=b'{"hello": 1}', times=None), "not the Hub"),
        (Fault("head", login_page=True, times=None), "login page"),
        (Fault("get", status=500, headers={"Retry-After": "0"}, times=None), "HTTP 500"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.kind,
)
def test_a_lasting_network_failure(
    machine: Machine, hub: Standin, fault: Fault, words: str
) -> None:
    hub.faults.append(fault)
    assert words in machine.refuse(NetworkError)
    assert machine.locate() is None


def test_a_forbidden_repository(machine: Machine, hub: Standin) -> None:
    hub.faults.append(Fault("info", status=403, times=None))
    assert "refuses demo/x" in machine.refuse(AccessError)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "nonsense"])
def test_an_unreachable_hub(machine: Machine, endpoint: str) -> None:
    machine.env["HF_ENDPOINT"] = endpoint
    assert endpoint in machine.refuse(NetworkError)


def test_a_cache_that_cannot_be_written(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    machine.env["HF_HUB_CACHE"] = str(tmp_path / "file" / "cache")
    assert "HF_HUB_CACHE" in machine.refuse(UsageError)
