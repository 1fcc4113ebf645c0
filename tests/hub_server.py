"""A Hub on loopback: repositories with commits and large files, private ones, tokens, and requests that break off."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import http.server
import json
import re
import threading
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_ofTheOwnerAndForNobodysEyes"
OTHER_TOKEN = "hf_ofSomebodyElse"
USERS = {TOKEN: "tester", OTHER_TOKEN: "stranger"}
LARGE = (".parquet", ".safetensors", ".bin")  # `datasets` needs Parquet to be sent ahead as large files
REPO = r"(?P<kind>models|datasets|spaces)/(?P<name>[^/]+/[^/]+)"
REVISION = r"(?P<revision>refs/[^/]+/[^/]+|[^/]+)"
WRITES = ("preupload", "commit", "branch", "lfs_batch")


@dataclasses.dataclass
class Repository:
    """Commits (files by path, and a title), and the branches, by the name of their last commit."""

    private: bool
    sdk: str | None
    commits: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    branches: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.commit({}, "initial commit")

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[self.branches["main"]]["files"]

    def commit(self, files: dict[str, bytes], title: str, branch: str = "main") -> str:
        known = repr((len(self.commits), title, sorted(files.items()))).encode()
        sha = hashlib.sha1(known).hexdigest()
        self.commits[sha] = {"files": files, "title": title}
        self.branches[branch] = sha
        return sha


class Hub:
    """The server; `requests` are (method, path, size of the body), `break_off` makes one request fail."""

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repository] = {}
        self.large: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, int]] = []
        self.faults: list[tuple[str, int]] = []
        hub = self

        class Bound(Handler):
            pass

        Bound.hub = hub
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.lock = threading.RLock()

    def start(self) -> Hub:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def files(self, kind: str, name: str) -> dict[str, bytes]:
        """Files at the head of a repository."""
        return self.repos[kind, name].files

    def break_off(self, pattern: str, after: int = 0) -> None:
        """Refuse the next request of this "METHOD path", once, when `after` of them have passed."""
        self.faults.append((pattern, after))

    def sent(self, pattern: str) -> list[int]:
        """Sizes of what came with requests of this "METHOD path"."""
        return [size for method, path, size in self.requests if re.match(pattern, f"{method} {path}")]

    def breaks(self, request: str) -> bool:
        for place, (pattern, after) in enumerate(self.faults):
            if re.match(pattern, request):
                self.faults[place] = (pattern, after - 1)
                if after == 0:
                    del self.faults[place]
                    return True
        return False


class Handler(http.server.BaseHTTPRequestHandler):
    """The part of the Hub's interface that its clients use here."""

    hub: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or head and body of an answer wait 40 ms for one another

    def log_message(self, *_: Any) -> None:
        """Be quiet."""

    def respond(self) -> None:
        split = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(split.query).items()}
        path, self.body = unquote(split.path), self.read_body()
        self.user = USERS.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))
        with self.hub.lock:
            self.hub.requests.append((self.command, path, len(self.body)))
            if self.hub.breaks(f"{self.command} {path}"):
                return self.refuse(400, "the connection broke off")
            if self.headers.get("Authorization") and self.user is None:
                return self.refuse(401, "Invalid username or password.")
            for pattern, route in ROUTES:
                if match := re.fullmatch(pattern, path):
                    return self.routed(route, match.groupdict())
        return self.refuse(404, f"no route {path}")

    do_GET = respond  # noqa: N815
    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def routed(self, route: str, found: dict[str, str]) -> None:
        if "name" not in found:
            return getattr(self, route)(**found)
        kind, name = (found.pop("kind", None) or "models").rstrip("/"), found.pop("name")
        repo = self.hub.repos.get((kind, name))
        if repo is None or (repo.private and self.user != name.split("/")[0]):
            return self.refuse(404 if self.user else 401, f"Repository {name} not found", "RepoNotFound")
        if route in WRITES and self.user != name.split("/")[0]:
            return self.refuse(403, "you have no right to write here")
        self.kind, self.name, self.repo = kind, name, repo
        self.revision = found.pop("revision", "main")
        self.sha = repo.branches.get(self.revision, self.revision)
        if self.sha not in repo.commits and route != "branch":
            return self.refuse(404, f"Invalid rev id: {self.revision}", "RevisionNotFound")
        return getattr(self, route)(**found)

    def answer(self, body: Any, code: int = 200, kind: str = "application/json", **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def refuse(self, code: int, message: str, error: str = "", **headers: str) -> None:
        self.answer({"error": message}, code, **{"X-Error-Code": error, "X-Error-Message": message}, **headers)

    def whoami(self) -> None:
        if self.user is None:
            return self.refuse(401, "Invalid user token")
        token = {"displayName": "t", "role": "write"}
        told = {"type": "user", "name": self.user, "orgs": [], "auth": {"type": "access_token", "accessToken": token}}
        return self.answer(told)

    def validate(self) -> None:
        content = json.loads(self.body)["content"]
        head = content.split("---\n")[1] if content.startswith("---\n") else ""
        errors = [{"message": '"license" must be known'}] if "license: none" in head else []
        self.answer({"errors": errors, "warnings": []}, 400 if errors else 200)

    def create(self) -> None:
        asked = json.loads(self.body)
        owner = asked.get("organization") or self.user
        if self.user is None or owner != self.user:
            return self.refuse(403 if self.user else 401, "you have no right to create this repository")
        kind, name = (asked.get("type") or "model") + "s", f"{owner}/{asked['name']}"
        url = f"{self.hub.url}/{'' if kind == 'models' else kind + '/'}{name}"
        if (kind, name) in self.hub.repos:
            return self.answer({"error": "You already created this repo", "url": url}, 409)
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.repos[kind, name] = Repository(private, asked.get("sdk"))
        return self.answer({"url": url, "name": name, "id": "x"})

    def info(self) -> None:
        files = self.repo.commits[self.sha]["files"]
        self.answer(
            {
                "_id": "x", "id": self.name, "modelId": self.name, "author": self.name.split("/")[0], "sha": self.sha,
                "private": self.repo.private, "gated": False, "disabled": False, "downloads": 0, "likes": 0,
                "tags": [], "lastModified": "2026-01-01T00:00:00.000Z", "createdAt": "2026-01-01T00:00:00.000Z",
                "siblings": [{"rfilename": path} for path in sorted(files)],
            }
        )  # fmt: skip

    def branch(self) -> None:
        if self.revision in self.repo.branches:
            return self.answer({"error": "exists"}, 409)
        self.repo.branches[self.revision] = self.repo.branches["main"]
        return self.answer({})

    def preupload(self) -> None:
        files = self.repo.commits[self.sha]["files"]
        told = []
        for asked in json.loads(self.body)["files"]:
            path = asked["path"]
            mode = "lfs" if path.endswith(LARGE) else "regular"
            known = {"oid": oid(files[path])} if path in files else {}
            told.append({"path": path, "uploadMode": mode, "shouldIgnore": False, **known})
        self.answer({"files": told})

    def lfs_batch(self) -> None:
        told = []
        for asked in json.loads(self.body)["objects"]:
            upload = {"upload": {"href": f"{self.hub.url}/large/{asked['oid']}", "header": {}}}
            missing = asked["oid"] not in self.hub.large
            told.append({"oid": asked["oid"], "size": asked["size"], **({"actions": upload} if missing else {})})
        self.answer({"transfer": "basic", "objects": told}, kind="application/vnd.git-lfs+json")

    def put_large(self, oid: str) -> None:
        self.hub.large[oid] = self.body
        self.answer(b"", ETag='"x"')

    def commit(self) -> None:
        head, *steps = (json.loads(line) for line in self.body.decode().splitlines() if line.strip())
        if (head["value"].get("parentCommit") or self.sha) != self.sha:
            return self.refuse(412, "A commit has happened since. Please refresh and try again.")
        files = dict(self.repo.commits[self.sha]["files"])
        for step in steps:
            path, value = step["value"].get("path"), step["value"]
            if step["key"] == "file":
                files[path] = base64.b64decode(value["content"])
            elif step["key"] == "lfsFile":
                files[path] = self.hub.large[value["oid"]]
            elif step["key"] == "deletedFile":
                del files[path]
        sha = self.repo.commit(files, head["value"]["summary"], self.revision)
        prefix = "" if self.kind == "models" else f"{self.kind}/"
        return self.answer({"commitOid": sha, "commitUrl": f"{self.hub.url}/{prefix}{self.name}/commit/{sha}"})

    def tree(self, folder: str | None = None) -> None:
        start = f"{(folder or '').strip('/')}/".lstrip("/")
        inside = {path: c for path, c in self.repo.commits[self.sha]["files"].items() if path.startswith(start)}
        if start and not inside:
            return self.refuse(404, f"{start} does not exist", "EntryNotFound")
        deep = self.query.get("recursive", "").lower() in ("true", "1")
        told = [entry(path, content) for path, content in inside.items() if deep or "/" not in path[len(start) :]]
        folders = {start + path[len(start) :].split("/")[0] for path in inside if "/" in path[len(start) :]}
        return self.answer(told + [directory(path) for path in sorted(folders)])

    def paths_info(self) -> None:
        files = self.repo.commits[self.sha]["files"]
        try:
            asked = json.loads(self.body)["paths"]
        except ValueError:
            asked = parse_qs(self.body.decode()).get("paths", [])
        told = []
        for path in [asked] if isinstance(asked, str) else asked:
            if path in files:
                told.append(entry(path, files[path]))
            elif any(name.startswith(f"{path}/") for name in files):
                told.append(directory(path))
        self.answer(told)

    def resolve(self, file: str) -> None:
        files = self.repo.commits[self.sha]["files"]
        if file not in files:
            return self.refuse(404, "Entry not found", "EntryNotFound", **{"X-Repo-Commit": self.sha})
        content, headers = files[file], {"X-Repo-Commit": self.sha, "ETag": f'"{oid(files[file])}"'}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if wanted is None or self.command == "HEAD":
            return self.answer(content, kind="application/octet-stream", **headers, **{"Accept-Ranges": "bytes"})
        start, end = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        return self.answer(content[start : end + 1], 206, "application/octet-stream", **headers)


def oid(content: bytes) -> str:
    """Name of a file's content, as git gives it."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def entry(path: str, content: bytes) -> dict[str, Any]:
    """A file as a listing tells of it."""
    told: dict[str, Any] = {"type": "file", "oid": oid(content), "size": len(content), "path": path}
    if path.endswith(LARGE):
        told["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return told


def directory(path: str) -> dict[str, Any]:
    """A folder as a listing tells of it."""
    return {"type": "directory", "oid": oid(path.encode()), "size": 0, "path": path}


ROUTES = (
    (r"/api/whoami-v2", "whoami"),
    (r"/api/validate-yaml", "validate"),
    (r"/api/repos/create", "create"),
    (rf"/api/{REPO}/preupload/{REVISION}", "preupload"),
    (rf"/api/{REPO}/commit/{REVISION}", "commit"),
    (rf"/api/{REPO}/branch/{REVISION}", "branch"),
    (rf"/api/{REPO}/tree/{REVISION}(?P<folder>/.*)?", "tree"),
    (rf"/api/{REPO}/paths-info/{REVISION}", "paths_info"),
    (rf"/api/{REPO}/revision/{REVISION}", "info"),
    (rf"/api/{REPO}", "info"),
    (r"/(?P<kind>datasets/|spaces/)?(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch", "lfs_batch"),
    (r"/large/(?P<oid>\w+)", "put_large"),
    (rf"/(?P<kind>datasets/|spaces/)?(?P<name>[^/]+/[^/]+)/resolve/{REVISION}/(?P<file>.+)", "resolve"),
)
