"""Files: the redirect that the Hub answers with, and bodies, whole or in ranges."""

from __future__ import annotations

import os
import re
import select
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from standin.plumbing import Cut, Plumbing
from standin.repository import Entry

BLOCK = 1 << 20


class Files(Plumbing):
    def resolve(self, *, direct: bool) -> None:
        """`/resolve`: a redirect to the content network, or for small files the file itself."""
        repo, rev = self.request_log["repo"], self.request_log["rev"]
        name: str = self.request_log["file"]
        if not self.may_see(repo, content=True):
            return
        found = self.repositories.resolve(repo, rev)
        if found is None:
            self.error(404, "RevisionNotFound", f"Invalid rev id: {rev}")
            return
        commit, tree = found
        entry = tree.get(name)
        headers: dict[str, str | None] = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if entry is None or not entry.unchanged:
            self.error(404, "EntryNotFound", "Entry not found", headers)
        elif entry.lfs:
            self._redirect(repo, commit, entry, headers)
        elif direct:
            self._file(entry, {**headers, "ETag": f'"{entry.oid}"'})
        else:  # as the Hub does: a relative redirect on the same host
            target = f"/api/resolve-cache/models/{repo}/{commit}/{quote(name)}"
            self.answer(307, b"", {**headers, "Location": target}, "text/plain")

    def _redirect(
        self, repo: str, commit: str, entry: Entry, headers: dict[str, str | None]
    ) -> None:
        server: Any = self.server
        query = f"repo={quote(repo, safe='')}&Expires={time.time() + self.link_ttl}&Signature=0"
        headers |= {
            "X-Linked-Size": str(self.rule.get("truncate_to", entry.size)),
            "X-Linked-Etag": f'"{entry.sha256}"',
            "Location": f"{server.cdn_url}/cdn/{entry.sha256}?{query}",
        }
        if self.repositories.settings.get(repo, {}).get("xet"):
            token = f"{server.hub_url}/api/models/{repo}/xet-read-token/{commit}"
            headers |= {"X-Xet-Hash": entry.xet_hash, "Link": f'<{token}>; rel="xet-auth"'}
        self.answer(302, b"", headers, "text/plain")

    def content(self, entry: Entry | None) -> None:
        """The content network's answer to a signed link."""
        if entry is None or not entry.unchanged:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>", {}, "application/xml")
        elif float((self.query.get("Expires") or ["0"])[0]) < time.time():
            self.answer(403, b"<Error>Request has expired</Error>", {}, "application/xml")
        else:
            etag = f'"{entry.sha256[:32]}"'
            self._file(entry, {"ETag": etag, "Accept-Ranges": "bytes"})

    def _file(self, entry: Entry, headers: dict[str, str | None]) -> None:
        size = min(entry.size, self.rule.get("truncate_to", entry.size))
        start, end, status = 0, size - 1, 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.request_log["range"] or "")
        if asked and not self.rule.get("ignore_range"):
            start, end, status = int(asked[1]), min(int(asked[2] or size), size - 1), 206
            if start > end:
                self.answer(416, b"", {"Content-Range": f"bytes */{size}"}, "text/plain")
                return
            headers["Content-Range"] = f"bytes {start}-{end}/{size}"
        length = end - start + 1
        lie = self.rule.get("content_length", 0)
        declared = None if lie == "none" else length + lie
        if declared is None:
            self.close_connection = True
        self.head(
            status,
            {
                "Content-Type": "application/octet-stream",
                **headers,
                "Content-Length": None if declared is None else str(declared),
                "Connection": "close" if declared is None else None,
            },
        )
        if self.command == "HEAD":
            return
        wrong_place = bool(self.rule.get("wrong_range"))
        self._body(entry.disk, start + wrong_place, min(length, declared or length))
        if declared is None or declared > length:
            self.cut("end of body")

    def _body(self, disk: Path, start: int, length: int) -> None:
        """Send bytes of a file, spoiled as the rule says."""
        with disk.open("rb", buffering=0) as file:
            if self.rule.keys() & {"corrupt_at", "cut_after", "stall_after", "throttle"}:
                file.seek(start)
                self._spoiled_body(file, start, length)
                return
            stop = min(start + length, disk.stat().st_size)
            while start < stop:
                sent = self._sendfile(file.fileno(), start, min(stop - start, 64 * BLOCK))
                if not sent:
                    raise Cut("the file shrank")
                start += sent
                self.request_log["sent"] += sent

    def _spoiled_body(self, file: Any, start: int, length: int) -> None:
        rule, done, began = self.rule, 0, time.monotonic()
        cut, stall, rate = rule.get("cut_after"), rule.get("stall_after"), rule.get("throttle")
        block = max(1, min(BLOCK, rate // 20)) if rate else BLOCK
        while done < length:
            if cut is not None and done >= cut:
                self.cut("cut")
            if stall is not None and done >= stall:
                time.sleep(rule.get("stall", 60))
                stall = None
            marks = [mark - done for mark in (cut, stall) if mark is not None]
            data = bytearray(file.read(min(block, length - done, *marks)))
            if not data:
                raise Cut("the file shrank")
            flaw = rule.get("corrupt_at", -1) - start - done
            if 0 <= flaw < len(data):
                data[flaw] ^= 0xFF
            self.connection.sendall(data)
            done += len(data)
            self.request_log["sent"] += len(data)
            if rate:
                time.sleep(max(0.0, done / rate - (time.monotonic() - began)))
        if cut is not None and done >= cut:
            self.cut("cut")

    def _sendfile(self, file: int, start: int, count: int) -> int:
        """os.sendfile on a socket that has a timeout, and therefore does not block."""
        while True:
            try:
                return os.sendfile(self.connection.fileno(), file, start, count)
            except BlockingIOError:
                if not select.select([], [self.connection], [], self.timeout)[1]:
                    raise TimeoutError from None
