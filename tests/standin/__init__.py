"""A stand-in for the Hugging Face Hub on loopback, for the real client to talk to.

    with Standin(tmp_path / "hub") as hub:
        hub.add("demo/x", "x-Q4_K_M.gguf", data)              # the files of main
        hub.add("demo/x", "x-Q4_K_M.gguf", other, rev="v1")   # of another branch or tag
        hub.repos["demo/x"] = {"gated": "manual"}             # see `repository`
        hub.faults({"match": {"kind": "cdn"}, "cut_after": 5_000_000})   # see `faults`
        ...  # a child process with HF_ENDPOINT=hub.endpoint
        assert [r["range"] for r in hub.requests(kind="cdn")] == ["bytes=0-4999999", ...]

Two ports are opened, because the real Hub answers for a large file with a redirect to another
host: the client must follow it, and must not take its token along. The second port plays that
content network ("role": "cdn"). Every request is logged as a dict:

    n t role kind method path repo rev file range status length sent auth fault aborted done

    kind is one of info list whoami tree paths refs resolve resolve-cache cdn xet-token recon xorb
    telemetry other; `auth` is the token, `sent` the bytes of the body that went out.
"""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from standin.faults import Faults
from standin.handler import Handler
from standin.log import Log
from standin.repository import Repositories

__all__ = ["Standin"]

GOOD_TOKEN = "hf_good"  # noqa: S105 - opens nothing but this


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    hub_url = cdn_url = ""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what the tests are about."""


class Standin:
    """Both servers with their control, in threads of this process."""

    def __init__(self, root: Path, link_ttl: float = 3600) -> None:
        self.repositories = Repositories(root)
        self.repositories.tokens = {
            GOOD_TOKEN: {"gated": ["demo/gated"], "private": ["demo/private"]}
        }
        self.repos = self.repositories.settings
        self.log = Log()
        self._faults = Faults()
        self._servers = [self._serve(role, link_ttl) for role in ("hub", "cdn")]
        self.endpoint, self.cdn = (
            f"http://127.0.0.1:{server.server_address[1]}" for server in self._servers
        )
        for server in self._servers:
            server.hub_url, server.cdn_url = self.endpoint, self.cdn

    def _serve(self, role: str, link_ttl: float) -> _Server:
        shared = {
            "repositories": self.repositories,
            "faults": self._faults,
            "log": self.log,
            "link_ttl": link_ttl,
            "role": role,
        }
        handler: type[BaseHTTPRequestHandler] = type("BoundHandler", (Handler,), shared)
        return _Server(("127.0.0.1", 0), handler)

    def __enter__(self) -> Self:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def add(self, repo: str, name: str, data: bytes, rev: str = "main") -> Path:
        """Put a file into a repository."""
        return self.repositories.add(repo, name, data, rev)

    def commit(self, repo: str, rev: str = "main") -> str:
        found = self.repositories.resolve(repo, rev)
        assert found
        return found[0]

    def faults(self, *rules: dict[str, Any]) -> None:
        """Replace the rules; each applies once unless it says otherwise."""
        self._faults.set(list(rules))

    def requests(self, wait: float = 2.0, **match: Any) -> list[dict[str, Any]]:
        """The requests so far, those that match; what is being answered is waited for."""
        until = time.monotonic() + wait
        while not self.log.settled() and time.monotonic() < until:
            time.sleep(0.01)
        return [r for r in self.log.all() if all(r.get(k) == v for k, v in match.items())]

    def sent(self, wait: float = 2.0) -> int:
        """Bytes of file content that went out."""
        kinds = ("cdn", "resolve-cache", "xorb")
        return sum(r["sent"] for r in self.requests(wait) if r["kind"] in kinds)
