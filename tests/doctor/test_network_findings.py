"""The Hub and the token, where the network is not as it should be."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from standin import Standin

from lokal.doctor import network
from lokal.doctor.finding import Finding
from lokal.hub.faults import explain
from lokal.settings import Settings

ONLINE = Settings(Path("/nowhere"), Path("/nowhere"))


def look(
    monkeypatch: pytest.MonkeyPatch,
    endpoint: str,
    say: Callable[[str], object] = str,
    token: str = "hf_secret",  # noqa: S107 - opens nothing
) -> list[Finding]:
    """What the checks find with the Hub at that address, and a token."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", token)
    return list(network.check_hub(ONLINE, say))


def test_a_password_in_an_address_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor a name; the mirror itself is."""
    said: list[str] = []
    found = look(monkeypatch, "http://me:p@ss@127.0.0.1:9", said.append)
    texts = [*said, *(f"{each.message} {each.hint}" for each in found)]
    assert texts[0].startswith("asking http://127.0.0.1:9 ")
    assert found[0].message.startswith("http://127.0.0.1:9 cannot be reached")
    assert not [text for text in texts if "me:" in text or "ss@" in text]


@pytest.mark.parametrize("error", [ImportError, ValueError])
def test_what_the_client_raises_about_a_proxy_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def session() -> None:
        raise error("Unknown scheme for proxy URL 'foo://me:pass@h'")

    monkeypatch.setattr("huggingface_hub.get_session", session)
    hub, _ = look(monkeypatch, "http://127.0.0.1:9")
    assert (hub.state, hub.exit_code) == ("failure", 8)
    assert hub.message.endswith("cannot be reached: Unknown scheme for proxy URL 'foo://h'")
    pull = explain(error("Unknown scheme for proxy URL 'foo://me:pass@h'"), "me/x", "main")
    assert pull
    assert pull.exit_code == 8
    assert pull.message.endswith("Unknown scheme for proxy URL 'foo://h'")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Standin]:
    with Standin(tmp_path / "hub") as standin:
        yield standin


@pytest.mark.parametrize(
    ("fault", "words"), [({"captive": True}, "not the Hub"), ({"status": 503}, "HTTP 503")]
)
def test_what_answers_and_is_no_hub_is_not_sent_the_token(
    monkeypatch: pytest.MonkeyPatch, hub: Standin, fault: dict[str, Any], words: str
) -> None:
    hub.faults({"times": 9, **fault})
    found, token = look(monkeypatch, hub.endpoint)
    assert (found.state, found.exit_code, token.state) == ("failure", 8, "note")
    assert words in found.message
    assert all(request["auth"] is None for request in hub.requests())


@pytest.mark.parametrize("token", ["hf_w\u00e9rong", "hf_w\x01rong"])
def test_a_token_with_odd_characters_is_invalid_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, hub: Standin, token: str
) -> None:
    _, found = look(monkeypatch, hub.endpoint, token=token)
    assert (found.state, found.exit_code) == ("failure", 4)
    assert found.message.startswith("the access token ")
    assert found.message.endswith(" (from HF_TOKEN)")
    assert "rong" not in f"{found.message} {found.hint}"


@pytest.fixture
def trickle() -> Iterator[str]:
    """A server that sends a byte of its answer now and then, and never ends it."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)

        def serve() -> None:
            with suppress(OSError):
                client, _ = server.accept()
                with client:
                    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                    while not over.wait(0.02):
                        client.sendall(b" ")

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        over.set()
        thread.join()


def test_an_answer_that_never_ends_is_none(trickle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code is the network's, and the token is neither sent nor judged."""
    monkeypatch.setattr(network, "_SECONDS", 0.3)
    hub, token = look(monkeypatch, trickle)
    assert (hub.state, hub.exit_code) == ("failure", 8)
    assert "has not answered within" in hub.message
    assert (token.state, token.message) == ("note", "from HF_TOKEN, not checked")
