"""A chat endpoint on loopback that hears, answers from a known distribution, and fails as it is told to."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import http.server
import io
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import soundfile

KEY = "sk-not-for-anybodys-eyes"
CLASSES = ("angry", "happy", "neutral", "sad")
TOKENS_IN, TOKENS_OUT = 200, 1  # of every request


@dataclasses.dataclass
class Request:
    """What came in: when, with which headers, and the body."""

    start: float
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def text(self) -> str:
        """The words of the user's turn."""
        return self.body["messages"][1]["content"][-1]["text"]

    @property
    def transcript(self) -> str:
        """What the speaker is said to say."""
        return re.search(r'^The speaker says: "(.*)"$', self.text, re.MULTILINE).group(1)

    @property
    def utterance(self) -> int | str:
        """The N of a transcript `word N`, or the transcript itself."""
        found = re.fullmatch(r"word (\d+)", self.transcript)
        return int(found.group(1)) if found else self.transcript

    @property
    def attention(self) -> str:
        """The line of the prompt that is its own."""
        return self.text.split("\n")[-2]

    @property
    def sound(self) -> np.ndarray:
        """The recording, at 16 kHz."""
        if "audio" in self.body:
            data = self.body["audio"]
        else:
            part = self.body["messages"][1]["content"][0]
            url = part.get("audio_url", {}).get("url", "data:audio/wav;base64,")
            assert url.startswith("data:audio/wav;base64,")
            data = part["input_audio"]["data"] if part["type"] == "input_audio" else url.partition(",")[2]
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="float32")
        assert (rate, samples.ndim) == (16_000, 1)
        return samples


def truth(utterance: int | str, attention: str, size: int = len(CLASSES)) -> np.ndarray:
    """Probabilities of `size` options and, last, of anything else."""
    seed = hashlib.sha256(f"{utterance} {attention}".encode()).digest()
    return np.random.default_rng(list(seed)).dirichlet(np.ones(size + 1))


def top_tokens(probabilities: dict[str, float]) -> dict[str, Any]:
    """`logprobs` of a first token, the likeliest first."""
    entries = [{"token": token, "logprob": float(np.log(p)), "bytes": None} for token, p in probabilities.items()]
    entries.sort(key=lambda entry: -entry["logprob"])
    return {"content": [{**entries[0], "top_logprobs": entries}]}


def chat(request: Request) -> dict[str, Any]:
    """A reply as vLLM gives it, of the distribution `truth`."""
    request.sound  # noqa: B018 - must be readable
    p = truth(request.utterance, request.attention)
    words = [*CLASSES, "Hmm"]
    if request.body.get("logprobs"):
        choices = [choice(0, words[int(p.argmax())], logprobs=top_tokens(dict(zip(words, p, strict=True))))]
    elif "JSON object" in request.text:
        shares = {word: round(float(share), 4) for word, share in zip(words, p, strict=True)}
        choices = [choice(0, json.dumps(shares))]
    else:
        constrained = "structured_outputs" in request.body or "response_format" in request.body
        shares = p[:-1] / p[:-1].sum() if constrained else p
        rng = np.random.default_rng([request.body["seed"], request.utterance])
        drawn = rng.choice(len(shares), request.body.get("n", 1), p=shares)
        said = [json.dumps({"answer": words[i]}) if "response_format" in request.body else words[i] for i in drawn]
        choices = [choice(n, text) for n, text in enumerate(said)]
    return completion(choices)


def decide(request: Request) -> dict[str, Any]:
    """A reply of a decision endpoint."""
    p = truth(request.utterance, request.attention)
    usage = {"prompt_tokens": TOKENS_IN, "completion_tokens": TOKENS_OUT}
    return {"log_probabilities": np.log(p[: len(request.body["options"])]).tolist(), "usage": usage}


def choice(index: int, text: str | None, finish_reason: str = "stop", logprobs: Any = None, **message: Any) -> dict:
    """One choice of a completion."""
    said = {"role": "assistant", "content": text, **message}
    return {"index": index, "message": said, "logprobs": logprobs, "finish_reason": finish_reason}


def completion(choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A chat completion."""
    usage = {"prompt_tokens": TOKENS_IN, "completion_tokens": TOKENS_OUT, "total_tokens": TOKENS_IN + TOKENS_OUT}
    head = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
    return {**head, "choices": choices, "usage": usage, **more}


# A fault is a function of the handler, the request and the good reply; it writes what it will.
Fault = Callable[["Handler", Request, dict[str, Any]], None]


def status(code: int, body: str = '{"error": "no"}', **headers: str) -> Fault:
    """Answer with a status and headers (`retry_after="1"`)."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, *_: handler.reply(code, body.encode(), **named)


def hang(seconds: float) -> Fault:
    """Say nothing for a while, then close."""
    return lambda *_: time.sleep(seconds)


def drip(seconds: float) -> Fault:
    """Send the good reply byte by byte, the whole in `seconds` at the least."""

    def send(handler: Handler, _: Request, reply: dict[str, Any]) -> None:
        content = json.dumps(reply).encode()
        handler.head(200, len(content))
        try:
            for start in range(0, len(content), 20):
                handler.wfile.write(content[start : start + 20])
                time.sleep(seconds * 20 / len(content))
        except OSError:
            pass  # the other side has gone

    return send


def truncated(handler: Handler, _: Request, reply: dict[str, Any]) -> None:
    """Half of the JSON, as if it were all."""
    content = json.dumps(reply).encode()
    handler.reply(200, content[: len(content) // 2])


def html(handler: Handler, *_: Any) -> None:
    """A page of some gateway, with status 200."""
    handler.reply(200, b"<html>Sign in</html>", content_type="text/html")


def reset(handler: Handler, *_: Any) -> None:
    """Break the connection off."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def instead(change: Callable[[Request, dict[str, Any]], Any]) -> Fault:
    """Reply with `change(request, reply)`, as JSON."""
    return lambda handler, request, reply: handler.reply(200, json.dumps(change(request, reply)).encode())


def say(text: str | None, **more: Any) -> Fault:
    """Reply with one choice that says `text`."""
    return instead(lambda *_: completion([choice(0, text, **more)]))


class Handler(http.server.BaseHTTPRequestHandler):
    """Speaks HTTP for an `Endpoint`."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.endpoint.serve(self, Request(time.monotonic(), self.path, headers, json.loads(content)))

    def reply(self, code: int, content: bytes, content_type: str = "application/json", **headers: str) -> None:
        self.head(code, len(content), content_type, **headers)
        self.wfile.write(content)

    def head(self, code: int, length: int, content_type: str = "application/json", **headers: str) -> None:
        self.send_response(code)
        for name, value in {"content-type": content_type, "content-length": str(length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    endpoint: Endpoint

    def handle_error(self, *_: Any) -> None:
        pass  # a client that hung up


class Endpoint:
    """A server on loopback; use it in a `with`.

    `respond` makes the good reply, `fault(number, request)` the fault of the number-th request about an utterance and
    prompt (None for none). It keeps all `requests`, and how many there were `at_once`.
    """

    def __init__(
        self,
        respond: Callable[[Request], dict[str, Any]] = chat,
        fault: Callable[[int, Request], Fault | None] = lambda *_: None,
        pause: float = 0.0,
    ):
        self.respond, self.fault, self.pause = respond, fault, pause
        self.requests: list[Request] = []
        self.at_once = self.under_way = 0
        self.numbers: dict[Any, int] = {}
        self.about: Callable[[Request], Any] = lambda request: (request.utterance, request.attention)
        self.lock = threading.Lock()

    def serve(self, handler: Handler, request: Request) -> None:
        """Answer one request."""
        with self.lock:
            self.requests.append(request)
            self.under_way += 1
            self.at_once = max(self.at_once, self.under_way)
            about = self.about(request)
            number = self.numbers[about] = self.numbers.get(about, 0) + 1
        time.sleep(self.pause)
        fault = self.fault(number, request)
        reply = self.respond(request)
        with self.lock:
            self.under_way -= 1  # before the reply: the client may send the next one as soon as it has it
        if fault is not None:
            fault(handler, request, reply)
        else:
            handler.reply(200, json.dumps(reply).encode())

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def __enter__(self) -> Endpoint:
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.endpoint = self
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
