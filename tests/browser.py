"""JupyterLab in a real browser: a server with settings of its own, and a page that runs cells."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tests.served import free_port

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
# Cells off screen stay in the page, and nothing asks for news.
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


@contextlib.contextmanager
def jupyter_lab(root: Path, home: Path) -> Iterator[str]:
    """Run JupyterLab on a free loopback port, with all of its files below `home`."""
    for name, value in SETTINGS.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(value))
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    port = free_port()
    words = [
        sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root",
        "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
        "--IdentityProvider.token=", f"--ServerApp.root_dir={root}",
        "--LabApp.expose_app_in_browser=True",
    ]  # fmt: skip
    environment = os.environ | {name: str(home / folder) for name, folder in folders.items()}
    with (home / "log").open("w") as log:
        server = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_until_up(address, server, home / "log")
            yield address
        finally:
            server.terminate()  # the server ends its kernels, then itself
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


def _wait_until_up(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{address}/api/status", timeout=2).close()  # noqa: S310
        except (urllib.error.URLError, OSError):
            if server.poll() is not None:
                break
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"JupyterLab did not start: {log.read_text()[-2000:]}")


def open_notebook(page: Page, address: str, name: str) -> None:
    """Open one notebook and wait until its own kernel is idle."""
    page.goto(f"{address}/doc/tree/{name}?reset", wait_until="domcontentloaded")
    page.wait_for_function("() => window.jupyterapp", timeout=60_000)
    page.wait_for_function(
        """() => {
            const session = window.jupyterapp.shell.currentWidget?.sessionContext?.session;
            return session?.kernel?.connectionStatus === 'connected'
                && session.kernel.status === 'idle';
        }""",
        timeout=60_000,
    )


def run_all_cells(page: Page, timeout: float) -> list[str]:
    """Run every cell; return the errors of all cells, which should be none."""
    # Not awaited inside the page: a dialog would keep that promise open for ever.
    page.evaluate(
        """() => {
            window.allCells = 'running';
            window.jupyterapp.commands.execute('notebook:run-all-cells')
                .then(() => { window.allCells = 'done' }, e => { window.allCells = String(e) });
        }"""
    )
    page.wait_for_function("() => window.allCells !== 'running'", timeout=timeout)
    errors: list[str] = page.evaluate(
        """() => window.jupyterapp.shell.currentWidget.context.model.toJSON().cells
            .flatMap(cell => cell.outputs || [])
            .filter(output => output.output_type === 'error')
            .map(output => output.ename + ': ' + output.evalue)"""
    )
    return errors


def ask(page: Page, expression: str) -> Any:
    """Return the value of an expression in the notebook's kernel, by way of JSON."""
    reply = page.evaluate(
        """async expression => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const code = "import json", user_expressions = {it: `json.dumps(${expression})`};
            return (await kernel.requestExecute({code, user_expressions}).done).content;
        }""",
        expression,
    )
    answer = reply["user_expressions"]["it"]
    assert answer["status"] == "ok", answer
    return json.loads(ast.literal_eval(answer["data"]["text/plain"]))


def tell(page: Page, code: str) -> None:
    """Let the notebook's kernel run some lines, and wait until it has.

    The events of widgets go to another thread of the kernel: they do not wait for its cells.
    """
    page.evaluate(
        """async code => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            await kernel.requestExecute({code}).done;
        }""",
        code,
    )


def begin(page: Page, code: str) -> None:
    """Let the notebook's kernel run some lines, and do not wait for it."""
    page.evaluate(
        """code => { window.jupyterapp.shell.currentWidget.sessionContext.session.kernel
            .requestExecute({code}) }""",
        code,
    )


def request(page: Page, method: str, path: str) -> None:
    """Ask the server for something in the name of the page, but behind its back."""
    status = page.evaluate(
        """async ([method, path]) => {
            const [, token] = document.cookie.match(/_xsrf=([^;]*)/);
            return (await fetch(path, {method, headers: {'X-XSRFToken': token}})).status;
        }""",
        [method, path],
    )
    assert status < 300, f"{method} {path}: {status}"


def command(page: Page, name: str, **arguments: str) -> None:
    """Give JupyterLab one of its own commands, as its menus do, and do not wait for it."""
    page.evaluate(
        "([name, args]) => { window.jupyterapp.commands.execute(name, args) }", [name, arguments]
    )
