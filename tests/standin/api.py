"""The Hub's API: facts about repositories."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any
from urllib.parse import parse_qs

from standin.plumbing import Plumbing
from standin.repository import Entry, Tree


class Api(Plumbing):
    def api(self, kind: str, under: str) -> None:
        repo, rev = self.request_log["repo"], self.request_log["rev"]
        if not self.may_see(repo):
            return
        found = self.repositories.resolve(repo, rev)
        if found is None:
            self.error(404, "RevisionNotFound", f"Invalid rev id: {rev}")
            return
        commit, tree = found
        match kind:
            case "info":
                self.json(self._info(repo, commit, tree))
            case "tree":
                self.json(self._tree(repo, tree, under))
            case "paths":
                self.json([self._item(repo, tree[p]) for p in self._asked_paths() if p in tree])
            case "xet-token":
                self._xet_token()
            case _:
                self.error(404, None, "Not found")

    def whoami(self) -> None:
        if self.token in self.repositories.tokens:
            self.json({"type": "user", "name": "somebody"})
        else:
            self.error(401, None, "Invalid username or password.")

    def _info(self, repo: str, commit: str, tree: Tree) -> dict[str, Any]:
        settings = self.repositories.settings.get(repo, {})
        siblings = []
        for path, entry in sorted(tree.items()):
            size = settings.get("sizes", {}).get(path, entry.size)
            sibling: dict[str, Any] = {"rfilename": settings.get("names", {}).get(path, path)}
            if "blobs" in self.query:
                sibling |= {"size": size, "blobId": entry.oid}
                if entry.lfs:
                    sibling["lfs"] = {"sha256": entry.sha256, "size": size, "pointerSize": 134}
            siblings.append(sibling)
        return {
            "id": repo,
            "modelId": repo,
            "sha": commit,
            "private": bool(settings.get("private")),
            "gated": settings.get("gated", False),
            "siblings": siblings,
            **settings.get("info", {}),
        }

    def _tree(self, repo: str, tree: Tree, under: str) -> list[dict[str, Any]]:
        """The listing, always recursive, folders included."""
        items: list[dict[str, Any]] = []
        folders = set()
        for path, entry in sorted(tree.items()):
            if under and not path.startswith(f"{under}/"):
                continue
            folder = path.rpartition("/")[0]
            if folder and folder not in folders:
                folders.add(folder)
                oid = hashlib.sha1(folder.encode()).hexdigest()  # noqa: S324
                items.append({"type": "directory", "oid": oid, "size": 0, "path": folder})
            items.append(self._item(repo, entry))
        return items

    def _item(self, repo: str, entry: Entry) -> dict[str, Any]:
        item: dict[str, Any] = {
            "type": "file",
            "oid": entry.oid,
            "size": entry.size,
            "path": entry.path,
        }
        if entry.lfs:
            item["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": 134}
            if self.repositories.settings.get(repo, {}).get("xet"):
                item["xetHash"] = entry.xet_hash
        return item

    def _asked_paths(self) -> list[str]:
        if "json" in (self.headers.get("Content-Type") or ""):
            return list(json.loads(self.payload)["paths"])
        return parse_qs(self.payload.decode()).get("paths", [])

    def _xet_token(self) -> None:
        expires = int(time.time()) + 900
        url: str = self.server.cdn_url  # type: ignore[attr-defined]
        self.json(
            {"casUrl": url, "accessToken": "xet", "exp": expires},
            {
                "X-Xet-Cas-Url": url,
                "X-Xet-Access-Token": "xet",
                "X-Xet-Token-Expiration": str(expires),
            },
        )
