"""A server on this machine that speaks the protocols of a teacher far away, and remembers what it was asked."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np


def scores_of(text: str) -> list[float]:
    """What the served classifier thinks: a row that no other text has."""
    number = float(text.rsplit(maxsplit=1)[-1])
    return [number, -number, number / 4]


def as_it_is(answer: dict[str, Any]) -> dict[str, Any]:
    return answer


def at_once() -> None:
    """Take no time."""


def tokens_of(question: str) -> list[tuple[str, float]]:
    """What the served chat model may say first, with probabilities."""
    del question
    return [("A", 0.5), (" A", 0.1), ("b", 0.1), ("\nC", 0.2)]


@dataclass
class Reply:
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Server:
    """A server on this machine that speaks both protocols, and remembers what it was asked."""

    url: str = ""
    faults: list[Reply] = field(default_factory=list)  # given before any answer
    asked: list[dict[str, Any]] = field(default_factory=list)  # bodies of POST
    tokens: list[str | None] = field(default_factory=list)  # Authorization of every request
    paths: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(
        default_factory=lambda: {"inputs": [{"name": "review", "datatype": "BYTES", "shape": [-1]}]}
    )
    scores: Callable[[str], Sequence[float | None]] = scores_of
    likely: Callable[[str], Sequence[tuple[str, float]]] = tokens_of
    change: Callable[[dict[str, Any]], dict[str, Any]] = as_it_is
    busy: Callable[[], None] = at_once

    def reply(self, path: str, body: dict[str, Any] | None) -> Reply:
        self.paths.append(path)
        if body is None:
            return Reply(body=self.metadata)
        self.asked.append(body)
        self.busy()
        if self.faults:
            return self.faults.pop(0)
        return Reply(body=self.change(self.infer(body) if path.endswith("/infer") else self.chat(body)))

    def infer(self, body: dict[str, Any]) -> dict[str, Any]:
        rows = [self.scores(text) for text in body["inputs"][0]["data"]]
        flat = [score for row in rows for score in row]
        return {
            "outputs": [
                {"name": "classes", "datatype": "INT64", "shape": [len(rows)], "data": [0] * len(rows)},
                {"name": "scores", "datatype": "FP32", "shape": [len(rows), len(rows[0])], "data": flat},
            ]
        }

    def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        listed = [
            {"token": token, "logprob": float(np.log(probability))}
            for token, probability in self.likely(body["messages"][0]["content"])
        ]
        return {"choices": [{"logprobs": {"content": [{**listed[0], "top_logprobs": listed}]}}]}

    @property
    def texts(self) -> list[str]:
        return [text for body in self.asked for text in body["inputs"][0]["data"]]


@contextlib.contextmanager
def served() -> Iterator[Server]:
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # headers and body in one packet: in two, the second waits for the first

        def do_GET(self) -> None:
            self.answer(None)

        def do_POST(self) -> None:
            self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def answer(self, body: dict[str, Any] | None) -> None:
            told.tokens.append(self.headers["Authorization"])
            reply = told.reply(self.path, body)
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            try:
                self.send_response(reply.status)
                for name, value in {**reply.headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)
            except OSError:  # the client has gone
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        told.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield told
        finally:
            http.shutdown()
            thread.join()
