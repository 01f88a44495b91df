"""What a pull brings, when nothing goes wrong."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from contents import FILES, PARTS, Q4, Q8
from machine import Machine
from standin import GOOD_TOKEN, Standin


def kinds(hub: Standin) -> list[str]:
    return [request["kind"] for request in hub.requests()]


def test_the_usual_quantization_arrives_where_the_ecosystem_looks(
    machine: Machine, hub: Standin
) -> None:
    path = machine.pull()
    assert path.read_bytes() == Q4
    snapshot = machine.cache / "models--demo--x" / "snapshots" / hub.commit("demo/x")
    assert path == snapshot / "x-Q4_K_M.gguf"
    assert path.readlink().name == hashlib.sha256(Q4).hexdigest()
    # No telemetry, nothing asked twice.
    assert kinds(hub) == ["info", "resolve", "cdn"]
    found = machine.python(
        "import huggingface_hub as h; print(h.try_to_load_from_cache('demo/x', 'x-Q4_K_M.gguf'))"
    )
    assert Path(found).samefile(path)


def test_the_tools_of_hugging_face_are_content_with_it(machine: Machine) -> None:
    machine.pull()
    machine.pull(selector="Q6_K")
    listed = machine.hf("cache", "ls", "--format", "json")
    assert [repo["id"].removeprefix("model/") for repo in json.loads(listed.stdout)] == ["demo/x"]
    verified = machine.hf("cache", "verify", "demo/x")
    assert verified.returncode == 0, verified
    pruned = machine.hf("cache", "prune", "--dry-run")
    assert "Nothing to prune" in pruned.stdout + pruned.stderr


def test_cached_weights_are_found_without_any_network(machine: Machine, hub: Standin) -> None:
    assert machine.locate() is None
    path = machine.pull()
    hub.log.clear()
    machine.env["HF_ENDPOINT"] = "http://127.0.0.1:9"
    assert machine.locate() == path
    assert machine.locate("demo/x", "q4_k_m") == path
    assert machine.locate("demo/x", "Q8_0") is None
    assert machine.locate("demo/y") is None
    assert kinds(hub) == []


def test_what_another_tool_downloaded_is_not_transferred_again(
    machine: Machine, hub: Standin
) -> None:
    theirs = machine.python(
        "import huggingface_hub as h; print(h.hf_hub_download('demo/x', 'x-Q8_0.gguf'))"
    )
    located = machine.locate()
    assert located is not None
    assert located.samefile(theirs)
    hub.log.clear()
    assert machine.pull(selector="Q8_0").samefile(theirs)
    assert kinds(hub) == ["info"]


def test_the_cache_follows_hf_home(machine: Machine, tmp_path: Path) -> None:
    del machine.env["HF_HUB_CACHE"]
    machine.env["HF_HOME"] = str(tmp_path / "home")
    path = machine.pull()
    assert path.is_relative_to(tmp_path / "home" / "hub")
    assert machine.locate() == path


def test_nothing_is_downloaded_twice(machine: Machine, hub: Standin) -> None:
    path = machine.pull()
    hub.log.clear()
    assert machine.pull() == path
    assert kinds(hub) == ["info"]


def test_an_update_that_leaves_the_weights_alone_transfers_nothing(
    machine: Machine, hub: Standin
) -> None:
    old, joined = machine.pull(), machine.pull(selector="Q6_K")
    hub.add("demo/x", "README.md", b"# a new text")
    hub.log.clear()
    assert machine.pull().readlink() == old.readlink()
    assert machine.pull(selector="Q6_K").readlink() == joined.readlink()
    assert kinds(hub) == ["info", "info"]


def test_a_split_model_is_all_its_shards(machine: Machine) -> None:
    first = machine.pull(selector="Q2_K")
    assert first.name == "x-Q2_K-00001-of-00002.gguf"
    assert sorted(path.name for path in first.parent.iterdir()) == [
        "x-Q2_K-00001-of-00002.gguf",
        "x-Q2_K-00002-of-00002.gguf",
    ]
    assert machine.locate("demo/x", "Q2_K") == first
    first.with_name("x-Q2_K-00002-of-00002.gguf").unlink()
    assert machine.locate("demo/x", "Q2_K") is None
    assert machine.pull(selector="Q2_K") == first


def test_raw_parts_are_joined_to_one_file(machine: Machine, hub: Standin) -> None:
    whole = b"".join(PARTS.values())
    path = machine.pull(selector="Q6_K")
    assert path.name == "x-Q6_K.gguf"
    assert path.read_bytes() == whole
    assert path.readlink().name == hashlib.sha256(whole).hexdigest()
    blobs = list((machine.cache / "models--demo--x" / "blobs").iterdir())
    assert [blob.stat().st_size for blob in blobs] == [len(whole)]  # and no part beside it
    assert machine.locate("demo/x", "Q6_K") == path
    assert machine.locate("demo/x", "x-Q6_K.gguf.part1of3") == path
    hub.log.clear()
    assert machine.pull(selector="x-Q6_K.gguf") == path
    assert kinds(hub) == ["info"]


def test_raw_parts_of_another_tool_are_not_fetched_again(machine: Machine, hub: Standin) -> None:
    for name in list(PARTS)[1:]:
        machine.python(f"import huggingface_hub as h; h.hf_hub_download('demo/x', '{name}')")
    hub.log.clear()
    assert machine.pull(selector="Q6_K").read_bytes() == b"".join(PARTS.values())
    assert [request["file"] for request in hub.requests(kind="cdn")] == [next(iter(PARTS))]


def test_an_entry_means_its_own_quantization_whatever_is_cached(machine: Machine) -> None:
    entry = {"repo": "demo/x", "file": "x-{quant}.gguf", "quant": "Q8_0"}
    machine.pull("demo/x", "Q4_K_M")
    assert machine.locate(entry) is None
    path = machine.pull(entry)
    assert path.read_bytes() == Q8
    assert machine.locate(entry) == path
    assert machine.locate(entry, "Q4_K_M") == path.with_name("x-Q4_K_M.gguf")


def test_the_registrys_file_name_settles_what_a_quantization_leaves_open(
    machine: Machine, hub: Standin
) -> None:
    for name in "ab":
        hub.add("demo/two", f"{name}-Q4_K_M.gguf", b"GGUF" + name.encode())
    path = machine.pull({"repo": "demo/two", "file": "b-{quant}.gguf"})
    assert path.read_bytes() == b"GGUFb"


def test_a_revision_has_a_ref_of_its_own(machine: Machine, hub: Standin) -> None:
    hub.add("demo/x", "x-Q4_K_M.gguf", b"GGUF one", rev="v1")
    pinned = machine.pull(revision="v1")
    assert pinned.read_bytes() == b"GGUF one"
    assert machine.locate() is None
    assert machine.locate(revision="v1") == pinned
    assert machine.pull().read_bytes() == Q4
    assert machine.pull(revision=hub.commit("demo/x", "v1")) == pinned


def test_a_file_outside_of_lfs_is_verified_by_its_git_hash(machine: Machine, hub: Standin) -> None:
    """Nothing but a redirect on the same host, and a SHA-1 for checksum."""
    blob = hashlib.sha1(b"blob 5\0small").hexdigest()  # noqa: S324
    hub.add("demo/small", "x.bin", b"small")
    sibling = {"rfilename": "x.gguf", "size": 5, "blobId": blob}
    hub.repos["demo/small"] = {"info": {"siblings": [sibling]}, "names": {}}
    hub.faults(
        {"match": {"kind": "resolve"}, "times": None, "status": 200, "body": "small"},
    )
    assert machine.pull("demo/small").read_bytes() == b"small"


def test_progress_counts_to_the_size(machine: Machine) -> None:
    events = machine.call("pull", "demo/x", selector="Q2_K")["events"]
    assert events[0] == ["start", 2, 2008]
    assert events[1] == ["begin", "Q2_K/x-Q2_K-00001-of-00002.gguf", 1004]
    assert [event[0] for event in events].count("end") == 2
    assert events[-3:] == [["at", 1004], ["end"], ["finish"]]


def test_a_token_opens_gated_and_private_repositories(machine: Machine, hub: Standin) -> None:
    hub.repos |= {"demo/private": {"private": True}, "demo/gated": {"gated": "manual"}}
    machine.env["HF_TOKEN"] = GOOD_TOKEN
    for repo in hub.repos:
        hub.add(repo, "x-Q4_K_M.gguf", Q4)
        assert machine.pull(repo).read_bytes() == Q4
    assert {request["auth"] for request in hub.requests(role="hub")} == {GOOD_TOKEN}
    assert {request["auth"] for request in hub.requests(role="cdn")} == {None}


def test_the_library_keeps_quiet_whatever_is_set(machine: Machine, hub: Standin) -> None:
    """`Machine` checks that stderr is empty."""
    machine.env |= {
        "HF_DEBUG": "1",
        "HF_HUB_VERBOSITY": "nonsense",
        "HF_HUB_ENABLE_HF_TRANSFER": "1",
        "TQDM_POSITION": "-1",
    }
    hub.faults({"match": {"kind": "cdn"}, "cut_after": 3000})
    machine.pull()


def test_a_disk_without_links_holds_the_file_itself(machine: Machine, hub: Standin) -> None:
    machine.env["HF_HUB_DISABLE_SYMLINKS"] = "1"
    result = machine.call("pull", "demo/x")
    path = Path(result["paths"][0])
    assert not path.is_symlink()
    assert path.read_bytes() == Q4
    assert result["unlinked"] == {str(path): hashlib.sha256(Q4).hexdigest()}
    hub.add("demo/x", "README.md", b"# a new text")
    hub.log.clear()
    assert machine.pull().read_bytes() == Q4
    assert machine.pull() == machine.locate()
    assert kinds(hub) == ["info", "info"]


def test_what_only_xet_serves_goes_through_the_library(machine: Machine, hub: Standin) -> None:
    hub.repos["demo/x"] = {"xet": True}
    path = machine.pull(pace={"largest": 1000})
    assert path.read_bytes() == FILES["x-Q4_K_M.gguf"]
    assert path.readlink().name == hashlib.sha256(Q4).hexdigest()
    assert "xorb" in kinds(hub)


def test_weights_of_an_earlier_commit_are_still_here(machine: Machine) -> None:
    """Another tool moved `main` by fetching a README; nothing of ours is gone for that."""
    path = machine.pull()
    ref = machine.cache / "models--demo--x" / "refs" / "main"
    newer = path.parent.with_name("a" * 40)
    newer.mkdir()
    (newer / "README.md").write_text("news")
    ref.write_text("a" * 40)
    assert machine.locate() == path


def test_several_cached_sets_are_told_apart_by_the_user(machine: Machine, hub: Standin) -> None:
    """Offline, what is ambiguous is not taken for absent."""
    for name in "ab":
        hub.add("demo/two", f"{name}-Q4_K_M.gguf", b"GGUF" + name.encode())
    for name in "ab":
        machine.pull("demo/two", f"{name}-Q4_K_M.gguf")
    machine.env["HF_HUB_OFFLINE"] = "1"
    result = machine.call("locate", "demo/two", selector="Q4_K_M", no_network=True)
    assert result["error"]["code"] == "ambiguous"
    assert "a-Q4_K_M" in result["error"]["hint"]
