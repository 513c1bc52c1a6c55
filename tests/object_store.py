"""A real S3 server for tests, in a process of its own, and a relay before it that misbehaves where it is told to."""

from __future__ import annotations

import http.client
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import obstore
from obstore.store import S3Store

CANARIES = {
    "AWS_ACCESS_KEY_ID": "AKIACANARYONE0000001",
    "AWS_SECRET_ACCESS_KEY": "canaryTWOsecretNobodyMayRead0000000000001",
    "AWS_SESSION_TOKEN": "canaryTHREEtokenNobodyMayRead00000000000001",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(log: Path) -> Iterator[str]:
    """Run moto's server; yield its endpoint. `log` gets a line a request."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            for _ in range(600):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def make_bucket(endpoint: str, name: str) -> None:
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", method="PUT")).close()


def objects(bucket: str) -> dict[str, bytes]:
    """Return everything in a bucket."""
    store = S3Store(bucket)
    return {entry["path"]: bytes(obstore.get(store, entry["path"]).bytes()) for entry in obstore.list(store).collect()}


@contextmanager
def relay(endpoint: str, *, forgetful: bool = False, quoting: str | None = None) -> Iterator[tuple[str, list[str]]]:
    """Yield an endpoint before another one, and the `Authorization` of each request that came by.

    A forgetful one drops conditions; a quoting one refuses requests that match, and says what they came with.
    """
    seen: list[str] = []
    host = endpoint.removeprefix("http://")

    class Relay(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen.append(self.headers.get("Authorization", ""))
            if quoting is not None and re.search(quoting, f"{self.command} {self.path}"):
                key = re.search(r"Credential=([^/]+)/", seen[-1])
                token = self.headers.get("X-Amz-Security-Token", "")
                said = f"<AWSAccessKeyId>{key and key[1]}</AWSAccessKeyId><Token>{token}</Token>"
                # In one line, as some stores write it: whoever shows the first line shows all.
                text = f"<Error><Code>SignatureDoesNotMatch</Code>{said}</Error>"
                self.send(403, {"Content-Type": "application/xml"}, text.encode())
                return
            headers = {k: v for k, v in self.headers.items() if not (forgetful and k.lower() == "if-none-match")}
            with contextmanager(connected)(host) as upstream:
                upstream.request(self.command, self.path, body, headers)
                found = upstream.getresponse()
                self.send(found.status, dict(found.getheaders()), found.read())

        def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", headers.get("Content-Length", "0") if not body else str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815 - the server's names

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Relay) as serving:
        serving.daemon_threads = True
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{serving.server_address[1]}", seen
        finally:
            serving.shutdown()


def connected(host: str) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(host)
    try:
        yield connection
    finally:
        connection.close()
