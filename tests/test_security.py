"""What the series opens on your machine, and what its code may never do."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.served import free_port, listens

ROOT = Path(__file__).resolve().parent.parent
Record = Callable[[str, object], None]


@contextlib.contextmanager
def make_lab(home: Path) -> Iterator[tuple[int, int, str]]:
    """Run `make lab` as a reader does; yield its process, its port and the token that it prints."""
    port, log = free_port(), home / "log"
    environment = Path(sys.prefix)  # the one that the tests run in, be it .venv or another
    words = [
        "make", f"VENV={environment}", "--old-file", f"{environment}/.installed", "lab",
        f"ARGS=--no-browser --port={port} --ServerApp.port_retries=0",
    ]  # fmt: skip
    folders = {
        "HOME": home,
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_DATA_DIR": home / "data",
    }
    folders["JUPYTER_RUNTIME_DIR"] = home / "runtime"
    with log.open("w") as output:
        make = subprocess.Popen(
            words, cwd=ROOT, stdout=output, stderr=output, start_new_session=True,
            env=os.environ | {name: str(folder) for name, folder in folders.items()},
        )  # fmt: skip
        try:
            found, until = None, time.monotonic() + 60
            while make.poll() is None and not (found and listens(port)):
                if time.monotonic() > until:
                    break
                time.sleep(0.1)
                found = re.search(rf"http://127\.0\.0\.1:{port}/\S*token=(\w+)", log.read_text())
            assert found, log.read_text()
            yield make.pid, port, found[1]
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(make.pid, signal.SIGTERM)  # make and what it started
            make.wait(30)


class Stay(urllib.request.HTTPRedirectHandler):
    """Follows nothing: a redirection is an answer like any other."""

    def redirect_request(self, *_: object) -> None:
        return None


def answer(url: str) -> str:
    """Return the status of what comes back, or `login` for a redirection to that page."""
    try:
        with urllib.request.build_opener(Stay).open(url, timeout=10) as page:
            return str(page.status)
    except urllib.error.HTTPError as error:
        to_login = error.code == 302 and "/login?" in error.headers["Location"]
        return "login" if to_login else str(error.code)


@pytest.mark.reliability(
    "security",
    "`make lab`: its open ports, and its pages, files and kernels asked for without the token",
    "only the loopback listens; without the token all is refused",
)
def test_make_lab_listens_on_the_loopback_and_wants_its_token(
    tmp_path: Path, record_property: Record
) -> None:
    with make_lab(tmp_path) as (make, port, token):
        server = psutil.Process(make)
        listening = [
            connection.laddr
            for process in (server, *server.children(recursive=True))
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert port in [address.port for address in listening]
        assert {address.ip for address in listening} == {"127.0.0.1"}
        address = f"http://127.0.0.1:{port}"
        asked = ["api/contents", "api/kernels", "api/sessions", "api/terminals"]
        asked += ["files/README.md", "lab"]
        for path in asked:
            refused = "403" if path.startswith("api/") else "login"
            assert answer(f"{address}/{path}?token=wrong") == refused, path
            assert answer(f"{address}/{path}") == refused, path
            assert answer(f"{address}/{path}?token={token}") == "200", path
        assert len(token) >= 48
    record_property("cases", 1 + 2 * len(asked))


FORBIDDEN = {
    "pickle": "import pickle\n\npickle.loads(b'')",
    "unpickler": "from pickle import Unpickler\n\nUnpickler(None).load()",
    "marshal": "import marshal\n\nmarshal.loads(b'')",
    "shelve": "import shelve\n\nshelve.open('a')",
    "torch.load": "import torch\n\ntorch.load('a')",
    "torch.load, weights only": "import torch\n\ntorch.load('a', weights_only=True)",
    "torch.save": "import torch\n\ntorch.save({}, 'a')",
    "numpy.load": "import numpy as np\n\nnp.load('a', allow_pickle=True)",
    "eval": "eval(input())",
    "exec": "exec(input())",
    "os.system": "import os\n\nos.system(input())",
    "os.popen": "import os\n\nos.popen(input())",
    "shell": "import subprocess\n\nsubprocess.run(input(), shell=True)",
    "shell, formatted": "import subprocess\n\nsubprocess.run(f'ls {input()}', shell=True)",
    "yaml": "import yaml\n\nyaml.load(input())",
    "tar": "import tarfile\n\ntarfile.open('a').extractall('b')",
}


@pytest.mark.reliability(
    "security",
    "code that would unpickle, evaluate text, or give text to a shell, in library and benchmarks",
    "`make lint` names it",
)
@pytest.mark.parametrize("name", FORBIDDEN)
@pytest.mark.parametrize("folder", ["cvae_utils", "benchmarks", "notebooks"])
def test_the_linter_refuses_what_could_run_a_strangers_code(folder: str, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--stdin-filename", f"{folder}/new.py", "-"],
        cwd=ROOT, input=FORBIDDEN[name], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert re.search(r"^(S\d+|TID251) ", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.reliability(
    "security", "the linter, with its rules of security, over all files", "nothing is found"
)
def test_the_linter_finds_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_no_rule_of_security_is_silenced_in_the_library() -> None:
    """But for addresses that stand in the code, lists of words to run, and an assertion."""
    silenced = {
        (path.name, code)
        for path in (ROOT / "cvae_utils").rglob("*.py")
        for code in re.findall(r"noqa: .*?\b(S\d+|TID251)\b", path.read_text())
    }
    assert silenced <= {("data.py", "S310"), ("data.py", "S603"), ("plotting.py", "S101")}
