"""Someone who works with a Hub: a process of its own, since `huggingface_hub` reads addresses and tokens on import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

from tests.hub_server import TOKEN, Hub
from tests.places import ROOT


def environment(hub: Hub, home: Path, token: str = TOKEN) -> dict[str, str]:
    """What a process needs to work with a Hub."""
    return os.environ | {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": token,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",  # the stand-in has no store of chunks
        "HF_HUB_OFFLINE": "0",
        "HF_DATASETS_OFFLINE": "0",
        "HF_EVALUATE_OFFLINE": "0",
        "PYTHONPATH": str(ROOT),
        "GRADIO_ANALYTICS_ENABLED": "False",
    }


class Client:
    """Runs lines of Python, one after the other, in one process; all that it writes is in the file `log`."""

    def __init__(self, hub: Hub, home: Path):
        self.log = home / "log.txt"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.hub_client"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment(hub, home / "home"),
                cwd=ROOT,
            )

    def run(self, code: str, **names: Any) -> Any:
        """Run `code`, in which `names` and those of earlier runs are known, and return what it left in `result`.

        What it raises is raised here as `ClientError`.
        """
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps({"code": code, "names": names}), file=self.process.stdin, flush=True)
        reply = json.loads(self.process.stdout.readline())
        if "error" in reply:
            raise ClientError(reply["error"])
        return reply["result"]

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.kill()  # nothing is lost, and torch takes seconds to say goodbye
        self.process.wait(timeout=20)
        self.process.stdout.close()


class ClientError(Exception):
    """The code that a client ran raised this."""


@pytest.fixture(scope="session")
def hub():
    """A Hub on loopback."""
    server = Hub().start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def client(hub, tmp_path_factory):
    """Somebody who is logged in there."""
    someone = Client(hub, tmp_path_factory.mktemp("client"))
    yield someone
    someone.close()


def main() -> None:
    """Run what comes in, a JSON object a line, and answer with another."""
    import logging

    logging.basicConfig(level=logging.DEBUG)  # a token must not be in the finest log either
    replies, sys.stdout = sys.stdout, sys.stderr
    names: dict[str, Any] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        names |= {"result": None, **asked["names"]}
        try:
            exec(asked["code"], names)
            reply = {"result": names["result"]}
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
