"""What every answer of the stand-in is made with."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any

from standin.faults import Rule
from standin.repository import Repositories


class Cut(Exception):  # noqa: N818 - no error, that was the task
    """The connection is to be closed here."""


class Plumbing(BaseHTTPRequestHandler):
    """Answers with a body in one piece, and what the parts of the handler share."""

    repositories: Repositories
    rule: Rule
    request_log: dict[str, Any]
    query: dict[str, list[str]]
    payload: bytes
    token: str | None
    link_ttl: float

    def cut(self, why: str) -> None:
        raise NotImplementedError

    def head(self, status: int, headers: dict[str, str | None]) -> None:
        """Send status and headers, spoiled as the rule says."""
        left_out = {name.lower() for name in self.rule.get("no_headers", ())}
        headers = {k: v for k, v in headers.items() if v is not None and k.lower() not in left_out}
        for name, value in self.rule.get("set_headers", {}).items():
            headers = {k: v for k, v in headers.items() if k.lower() != name.lower()}
            headers[name] = value
        length = headers.get("Content-Length")
        self.request_log.update(status=status, length=None if length is None else int(length))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def answer(
        self,
        status: int,
        body: bytes = b"",
        headers: dict[str, str | None] | None = None,
        kind: str = "application/json",
    ) -> None:
        self.head(
            status, {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}
        )
        if self.command != "HEAD" and body:
            self.connection.sendall(body)
            self.request_log["sent"] += len(body)

    def json(self, data: Any, headers: dict[str, str | None] | None = None) -> None:
        self.answer(200, json.dumps(data).encode(), headers)

    def error(
        self,
        status: int,
        code: str | None,
        message: str,
        headers: dict[str, str | None] | None = None,
    ) -> None:
        body = json.dumps({"error": message}).encode()
        self.answer(
            status, body, {"X-Error-Message": message, "X-Error-Code": code, **(headers or {})}
        )

    def may_see(self, repo: str, *, content: bool = False) -> bool:
        """Whether the client may; if not, it has been told so as the Hub does."""
        settings = self.repositories.settings.get(repo, {})
        user = self.repositories.tokens.get(self.token or "")
        hidden = settings.get("private") and not (user and repo in user["private"])
        if self.token and user is None:
            self.error(401, None, "Invalid credentials in Authorization header")
        elif hidden or not self.repositories.exists(repo):
            # Whether a private repository exists is a secret.
            self.error(404 if self.token else 401, "RepoNotFound", "Repository not found")
        elif settings.get("disabled"):
            self.error(403, None, "Access to this resource is disabled.")
        elif content and settings.get("gated") and not (user and repo in user["gated"]):
            self.error(403 if user else 401, "GatedRepo", f"Access to model {repo} is restricted.")
        else:
            return True
        return False
