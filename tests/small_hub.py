"""A Hub of one request at a time, without faults: model_info, and files by range.

with SmallHub({"owner/repo": {"x-Q4_K_M.gguf": b"..."}}) as hub:
    ...  # a process with HF_ENDPOINT=hub.endpoint
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40


class SmallHub:
    def __init__(self, repos: Mapping[str, Mapping[str, bytes]]) -> None:
        handler = type("BoundHandler", (_Handler,), {"repos": repos})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    repos: Mapping[str, Mapping[str, bytes]]
    protocol_version = "HTTP/1.1"
    timeout = 20

    def log_message(self, *_args: object) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        info = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/[^/]+)?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path)
        if info and info[1] in self.repos:
            self._send(200, json.dumps(self._info(info[1])).encode(), {})
        elif file and file[2] in self.repos.get(file[1], {}):
            self._file(self.repos[file[1]][file[2]])
        else:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def _info(self, name: str) -> dict[str, Any]:
        siblings = [
            {
                "rfilename": path,
                "size": len(data),
                "blobId": "0" * 40,
                "lfs": {
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "size": len(data),
                    "pointerSize": 134,
                },
            }
            for path, data in self.repos[name].items()
        ]
        return {"id": name, "modelId": name, "sha": COMMIT, "gated": False, "siblings": siblings}

    def _file(self, data: bytes) -> None:
        headers = {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
        }
        status, start, stop = 200, 0, len(data)
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            status, start = 206, int(match[1])
            stop = min(stop, int(match[2]) + 1) if match[2] else stop
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        self._send(status, data[start:stop], headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
