"""A stand-in for the Hugging Face Hub on loopback, small, for the real client to talk to.

    with Standin() as hub:
        hub.repos["demo/x"] = Repo({"x-Q4_K_M.gguf": b"..."})
        hub.faults.append(Fault("get", status=503))
        ...  # a child process with HF_ENDPOINT=hub.endpoint
        assert hub.log == ["info demo/x", "head x-Q4_K_M.gguf", "get x-Q4_K_M.gguf"]

It answers model_info and HEAD/GET of files with the status codes and headers of the real one.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import socket
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

GOOD_TOKEN = "hf_good"  # noqa: S105 - opens nothing
LOGIN_PAGE = b"<html><body>Please log in to the hotel network</body></html>"


@dataclass
class Repo:
    """A repository with one commit; `declared` sizes replace the true ones in model_info."""

    files: dict[str, bytes]
    gated: bool = False
    private: bool = False
    disabled: bool = False
    declared: dict[str, int] = field(default_factory=dict)

    @property
    def commit(self) -> str:
        return hashlib.sha1(repr(sorted(self.files.items())).encode()).hexdigest()  # noqa: S324


@dataclass
class Fault:
    """What to do instead of answering a request of that kind ("info", "head", "get")."""

    kind: str
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False  # close without an answer
    reset: bool = False  # with cut_after: a TCP reset instead
    cut_after: int | None = None  # close after so many bytes of the body
    corrupt: bool = False  # flip the body's last bit
    login_page: bool = False  # 200 and HTML, as a captive portal does
    body: bytes | None = None
    times: int | None = 1  # None: for ever


class Standin:
    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.faults: list[Fault] = []
        self.log: list[str] = []
        handler = type("BoundHandler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _v: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take_fault(self, kind: str) -> Fault | None:
        for fault in self.faults:
            if fault.kind == kind and fault.times != 0:
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    hub: Standin
    protocol_version = "HTTP/1.1"
    timeout = 20

    def log_message(self, *_args: object) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/main)?", path):
            self._serve("info", match[1], None)
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._serve("head" if self.command == "HEAD" else "get", match[1], match[3])
        else:
            self.hub.log.append(f"other {path}")
            self._send(404)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def _serve(self, kind: str, name: str, file: str | None) -> None:
        self.hub.log.append(f"{kind} {file or name}")
        fault = self.hub.take_fault(kind) or Fault(kind)
        if fault.drop:
            self.close_connection = True
        elif fault.login_page:
            self._send(200, LOGIN_PAGE, {"Content-Type": "text/html"})
        elif fault.status:
            self._send(fault.status, fault.body or b"", fault.headers)
        elif fault.body is not None:
            self._send(200, fault.body, {"Content-Type": "application/json"})
        elif not self._refuse(name, content=file is not None):
            repo = self.hub.repos[name]
            if file is None:
                self._send(200, json.dumps(self._info(name, repo)).encode())
            else:
                self._file(repo, file, fault)

    def _refuse(self, name: str, *, content: bool) -> bool:
        """Answer as the Hub does where the repository or its files may not be seen."""
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        repo = self.hub.repos.get(name)
        if token and token != GOOD_TOKEN:
            self._error(401, None, "Invalid credentials in Authorization header")
        elif repo is None or (repo.private and not token):
            # Whether a private repository exists is a secret.
            code = ("RepoNotFound", 404) if token else (None, 401)
            self._error(code[1], code[0], "Repository not found")
        elif repo.disabled:
            self._error(403, None, "Access to this resource is disabled.")
        elif repo.gated and content:
            self._error(403 if token else 401, "GatedRepo", "Access to this model is restricted")
        else:
            return False
        return True

    def _info(self, name: str, repo: Repo) -> dict[str, Any]:
        siblings = []
        for path, data in repo.files.items():
            size = repo.declared.get(path, len(data))
            sibling: dict[str, Any] = {"rfilename": path, "size": size, "blobId": "0" * 40}
            if path.endswith(".gguf"):
                digest = hashlib.sha256(data).hexdigest()
                sibling["lfs"] = {"sha256": digest, "size": size, "pointerSize": 134}
            siblings.append(sibling)
        return {"id": name, "modelId": name, "sha": repo.commit, "siblings": siblings}

    def _file(self, repo: Repo, file: str, fault: Fault) -> None:
        data = repo.files.get(file)
        if data is None:
            self._error(404, "EntryNotFound", "Entry not found")
            return
        status = 200
        headers = {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Repo-Commit": repo.commit,
            "Accept-Ranges": "bytes",
        }
        if fault.corrupt:
            data = data[:-1] + bytes([data[-1] ^ 1])
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            start = int(match[1])
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            data = data[start:]
        self._send(status, data, headers, cut_after=fault.cut_after)
        if fault.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.rfile.close()
            self.wfile.close()
            self.connection.close()
            self.wfile = io.BytesIO()  # for http.server to flush

    def _error(self, status: int, code: str | None, message: str) -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self._send(status, json.dumps({"error": message}).encode(), headers)

    def _send(
        self,
        status: int,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        cut_after: int | None = None,
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut_after])
        if cut_after is not None:
            self.close_connection = True
