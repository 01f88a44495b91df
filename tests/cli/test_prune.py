"""`llm prune`: what interrupted downloads and updates have left behind."""

from __future__ import annotations

from caches import OLD, HubCache
from command import Llm, assert_error


def test_nothing_to_prune_is_no_question(llm: Llm, cache: HubCache) -> None:
    cache.put("me/x", "x.gguf", b"x")
    result = llm.run("prune")
    assert (result.code, result.stdout, result.stderr) == (0, b"", "nothing to remove\n")
    empty = {"removed": [], "freed": 0, "busy": [], "dry_run": False}
    assert llm.run("prune", "--json").json == empty


def test_leftovers_go_and_models_stay(llm: Llm, cache: HubCache) -> None:
    cache.put("me/x", "x.gguf", b"new" * 100)
    kept = cache.files()
    cache.put("me/x", "x.gguf", b"old" * 100, commit=OLD, ref=None)
    partial = cache.partial("me/y", "d" * 64, b"12345")
    before = cache.files()

    assert_error(llm.run("prune", "--json"), 2, "nobody is there to be asked", as_json=True)
    shown = llm.run("prune", "--dry-run")
    assert (shown.code, shown.stderr) == (0, "would free 305 B\n")
    assert [line.split()[:2] for line in shown.text.splitlines()] == [
        ["KIND", "REPOSITORY"],
        ["revision", "me/x"],
        ["partial", "me/y"],
    ]
    assert cache.files() == before

    done = llm.run("prune", "-y", "--json").json
    assert (done["freed"], done["dry_run"]) == (305, False)
    assert done["removed"][1] == {"kind": "partial", "repo": "me/y", "path": str(partial)}
    assert cache.files() == kept
    assert cache.is_sound()


def test_a_running_download_is_left_alone(llm: Llm, cache: HubCache) -> None:
    cache.partial("me/x", "d" * 64)
    before = cache.files()
    with cache.locked("me/x", "d" * 64):
        result = llm.run("prune", "-y")
        assert result.code == 0
        assert "note: me/x is being downloaded right now" in result.stderr
        assert llm.run("prune", "-y", "--json").json["busy"] == ["me/x"]
    assert cache.files() == before
