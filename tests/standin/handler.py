"""Requests to the stand-in: taken apart, logged, spoiled by a fault, or answered."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import struct
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from standin.api import Api
from standin.faults import Faults
from standin.files import Files
from standin.log import Log
from standin.plumbing import Cut
from standin.repository import Repositories
from standin.xet import Xet

_VERBS = {
    "revision": "info",
    "tree": "tree",
    "paths-info": "paths",
    "refs": "refs",
    "xet-read-token": "xet-token",
}


class Handler(Api, Files, Xet, BaseHTTPRequestHandler):
    """One connection; `Standin` binds what all connections share."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 0
    timeout = 60

    repositories: Repositories
    faults: Faults
    log: Log
    link_ttl: float
    role: str

    def log_message(self, *_args: object) -> None:
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.payload = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.query = parse_qs(url.query, keep_blank_values=True)
        # %2F stays apart from /, so that a revision such as refs/pr/1 is one part.
        parts = [unquote(part) for part in url.path.split("/") if part]
        auth = self.headers.get("Authorization") or ""
        self.token = auth.removeprefix("Bearer ") or None
        self.request_log: dict[str, Any] = {
            "t": time.monotonic(),
            "role": self.role,
            "kind": "other",
            "method": self.command,
            "path": self.path,
            "repo": None,
            "rev": None,
            "file": None,
            "range": self.headers.get("Range"),
            "auth": self.token,
            "status": None,
            "length": None,
            "sent": 0,
            "aborted": None,
            "done": False,
        }
        action = self._route(parts)
        self.log.begin(self.request_log)
        self.request_log["fault"], self.rule = self.faults.pick(self.request_log)
        try:
            if not self._spoil():
                action()
        except Cut as cut:
            self.request_log["aborted"] = str(cut)
            self.close_connection = True
        except OSError as error:
            self.request_log["aborted"] = f"client: {type(error).__name__}"
            self.close_connection = True
        finally:
            self.request_log["done"] = True

    do_HEAD = do_POST = do_GET  # noqa: N815 - the names that http.server calls

    def _spoil(self) -> bool:
        """Apply the actions that need no body; True where that was the answer."""
        rule = self.rule
        time.sleep(rule.get("delay", 0))
        if rule.get("drop") or (rule.get("reset") and "cut_after" not in rule):
            self.cut("dropped")
        if "status" in rule:
            headers = dict(rule.get("headers", {}))
            if "retry_after" in rule:
                headers["Retry-After"] = str(rule["retry_after"])
            self.answer(rule["status"], rule.get("body", "").encode(), headers, "text/plain")
        elif rule.get("captive"):
            self.answer(200, b"<html>Please log in to the hotel network</html>", {}, "text/html")
        elif rule.get("loop"):
            self.answer(302, b"", {"Location": self.path})
        elif "json" in rule:
            self.answer(200, json.dumps(rule["json"]).encode())
        else:
            return False
        return True

    def _route(self, parts: list[str]) -> Callable[[], None]:
        """Fill in what the log says of the request, and return what answers it."""
        request = self.request_log
        match parts:
            case ["cdn", sha256]:
                entry = self.repositories.by_sha256(sha256)
                request.update(kind="cdn", file=entry and entry.path)
                request["repo"] = (self.query.get("repo") or [None])[0]
                return lambda: self.content(entry)
            case ["v1", "reconstructions", xet_hash]:
                request["kind"] = "recon"
                return lambda: self.reconstruction(xet_hash)
            case ["xorb", xorb]:
                request["kind"] = "xorb"
                return lambda: self.xorb(xorb)
            case ["api", "models", owner, name, *rest]:
                verb, rev, *_ = [*rest, "main", "main"] if rest else ("revision", "main", "")
                kind = _VERBS.get(verb, "other")
                request.update(kind=kind, repo=f"{owner}/{name}", rev=rev)
                return lambda: self.api(kind, "/".join(rest[2:]))
            case ["api", "resolve-cache", "models", owner, name, rev, *file]:
                request.update(kind="resolve-cache", repo=f"{owner}/{name}", rev=rev)
                request["file"] = "/".join(file)
                return lambda: self.resolve(direct=True)
            case ["api", "models"]:
                request["kind"] = "list"
                return lambda: self.json([])
            case ["api", "whoami-v2"]:
                request["kind"] = "whoami"
                return self.whoami
            case ["api", "telemetry", *_]:
                request["kind"] = "telemetry"
            case [owner, name, "resolve", rev, *file]:
                request.update(kind="resolve", repo=f"{owner}/{name}", rev=rev)
                request["file"] = "/".join(file)
                return lambda: self.resolve(direct=False)
        return lambda: self.error(404, None, "Not found")

    def cut(self, why: str) -> None:
        """Close the connection here, politely or with a reset."""
        if self.rule.get("reset"):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.rfile.close()
            self.wfile.close()
            self.connection.close()  # now, before the server shuts it down politely
            self.wfile = io.BytesIO()
        else:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_WR)
        raise Cut(why)
