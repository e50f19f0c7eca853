"""A real S3 server (moto) in a process of its own, which can be told to misbehave.

``python s3_server.py`` prints its port. ``GET /-/behave?every=3`` makes it answer every third
request with 503 SlowDown; ``slow=zarr.json`` makes it take a second for every copy to a name that
ends like that; ``refuse=lock/`` makes it answer so whatever is put to a name that holds that.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qsl, urlencode
from urllib.request import ProxyHandler, build_opener

SLOW_DOWN = (
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)


class Bucket:
    """A bucket, as its owner sees it."""

    def __init__(self, client, name: str) -> None:
        self.client, self.name = client, name
        client.create_bucket(Bucket=name)

    def url(self, name: str) -> str:
        return f"s3://{self.name}/{name}"

    def names(self, folder: str) -> list[str]:
        """What is below a folder."""
        pages = self.client.get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self.name, Prefix=f"{folder}/")
        keys = [item["Key"] for page in found for item in page.get("Contents", [])]
        return [key.removeprefix(f"{folder}/") for key in keys]

    def read(self, name: str) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=name)["Body"].read()

    def write(self, name: str, content: bytes, **options: str) -> None:
        self.client.put_object(Bucket=self.name, Key=name, Body=content, **options)

    def files(self, folder: str) -> dict[str, bytes]:
        """Every object below a folder and its bytes."""
        return {name: self.read(f"{folder}/{name}") for name in self.names(folder)}

    def upload(self, folder: Path, name: str, **options: str) -> str:
        for file in folder.rglob("*"):
            if file.is_file():
                self.write(f"{name}/{file.relative_to(folder)}", file.read_bytes(), **options)
        return self.url(name)


class Server:
    def __init__(self, url: str) -> None:
        self.url = url

    def behave(self, **how: object) -> int:
        """Misbehave from now on, or no longer; how many requests it has refused so far."""
        opener = build_opener(ProxyHandler({}))
        with opener.open(f"{self.url}/-/behave?{urlencode(how)}") as answer:
            return int(answer.read())


@contextmanager
def s3_server() -> Iterator[Server]:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", __file__], stdout=subprocess.PIPE, text=True
    )
    try:
        yield Server(f"http://127.0.0.1:{int(process.stdout.readline())}")
    finally:
        process.kill()
        process.communicate()


class Misbehaving:
    """The server, and what stands before it."""

    def __init__(self, inner) -> None:
        self.inner = inner
        self.n_requests = self.n_refused = 0
        self.every, self.slow, self.refuse = 0, None, None
        self.n_busy = 0

    def __call__(self, environ, start):
        if environ["PATH_INFO"] == "/-/behave":
            how = dict(parse_qsl(environ["QUERY_STRING"]))
            self.every, self.slow = int(how.get("every", 0)), how.get("slow")
            self.refuse, self.n_busy = how.get("refuse"), int(how.get("busy", 0))
            start("200 OK", [])
            return [str(self.n_refused).encode()]
        self.n_requests += 1
        puts = environ["REQUEST_METHOD"] == "PUT" and self.refuse
        unwelcome = puts and self.refuse in environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] == "HEAD" and self.n_busy:
            self.n_busy -= 1
            unwelcome = True
        if unwelcome or (self.every and self.n_requests % self.every == 0):
            self.n_refused += 1
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            length = ("Content-Length", str(len(SLOW_DOWN)))
            start("503 Slow Down", [("Content-Type", "application/xml"), length])
            # A body after an answer to HEAD is one of the next answer to the client.
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [SLOW_DOWN]
        copies = "HTTP_X_AMZ_COPY_SOURCE" in environ
        if self.slow and copies and environ["PATH_INFO"].endswith(self.slow):
            time.sleep(1)
        return self.inner(environ, start)


def main() -> None:
    import logging

    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = Misbehaving(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
