"""The files that others open the project with: containers, hooks, citation, contributing."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.served import free_port, listens
from tests.test_security import answer

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BIN = Path(sys.executable).parent


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions in order, each with what follows its name."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    parts = [line.partition(" ") for line in lines if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in parts]


def only(name: str) -> str:
    """Return what follows the one instruction of that name."""
    (found,) = [rest for kind, rest in instructions() if kind == name]
    return found


def read_yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


# ---------------------------------------------------------------- the container


def test_the_container_installs_the_tested_versions_and_then_the_package_in_place() -> None:
    kinds = [kind for kind, _ in instructions()]
    assert set(kinds) == {"FROM", "RUN", "WORKDIR", "COPY", "USER", "EXPOSE", "CMD"}
    image, _, tag = only("FROM").partition(":")
    assert image == "python"
    minor = int(tag.removesuffix("-slim").removeprefix("3."))
    assert minor >= int(PYPROJECT["requires-python"].removeprefix(">=3.").split(",")[0])
    steps = [f"{kind} {rest}" for kind, rest in instructions()]
    order = [
        "COPY requirements.txt .",
        "RUN pip install --no-cache-dir --requirement requirements.txt",
        "COPY --chown=reader . .",
        "RUN pip install --no-cache-dir --no-deps --editable .",
        "USER reader",  # what follows, and the server, is not root
    ]
    assert [step for step in steps if step in order] == order
    assert (ROOT / "requirements.txt").is_file()


def test_the_container_starts_jupyterlab_on_the_series_behind_its_token() -> None:
    words = json.loads(only("CMD"))
    assert words[:2] == ["jupyter", "lab"]
    assert (BIN / "jupyter").is_file()
    options = dict(word.removeprefix("--").partition("=")[::2] for word in words[2:])
    assert options["ServerApp.ip"] == "0.0.0.0"  # noqa: S104 - inside; see the next test
    assert options["ServerApp.port"] == only("EXPOSE")
    assert options["ServerApp.root_dir"] == only("WORKDIR")
    notebook = options["LabApp.default_url"].removeprefix("/lab/tree/")
    assert (ROOT / notebook).is_file()
    for word in ("token", "password", "allow_root", "allow-root", "disable_check_xsrf"):
        assert word not in only("CMD")


def test_every_published_port_is_published_on_the_loopback_alone() -> None:
    pages = [ROOT / "Dockerfile", ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = [
        port
        for page in pages
        for port in re.findall(r"docker run.*?(?:-p|--publish)[ =](\S+)", page.read_text())
    ]
    assert found
    assert {port.rpartition(":")[0] for port in found} == {f"127.0.0.1:{only('EXPOSE')}"}


def test_what_the_container_starts_is_jupyterlab_and_wants_its_token(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    words = [str(BIN / "jupyter"), *json.loads(only("CMD"))[1:]]
    for there, here in (("=0.0.0.0", "=127.0.0.1"), ("=8888", f"={port}"), (only("WORKDIR"), ROOT)):
        assert sum(there in word for word in words) == 1
        words = [word.replace(there, str(here)) for word in words]
    if os.geteuid() == 0:
        words.append("--allow-root")  # in the container nobody is
    folders = {name: str(tmp_path) for name in ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    folders["JUPYTER_RUNTIME_DIR"] = str(tmp_path / "runtime")
    with log.open("w") as output:
        server = subprocess.Popen(words, stdout=output, stderr=output, env=os.environ | folders)
    try:
        address, found = f"http://127.0.0.1:{port}", None
        until = time.monotonic() + 60
        while server.poll() is None and time.monotonic() < until and not (found and listens(port)):
            time.sleep(0.1)
            found = re.search(rf"{address}/lab/tree/(\S+)\?token=(\w+)", log.read_text())
        assert found, log.read_text()
        assert found[1] == "notebooks/00_playground.ipynb"
        assert answer(f"{address}/api/contents/{found[1]}") == "403"
        assert answer(f"{address}/api/contents/{found[1]}?token={found[2]}") == "200"
    finally:
        server.terminate()
        server.wait(30)


def test_the_image_is_sent_no_environment_and_no_data_but_all_that_is_imported() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    ignored = [line for line in ignored if line and not line.startswith("#")]
    for path in (".git", ".venv", ".venv-oldest", "build", "data/*"):
        assert path in ignored
    needed = ("cvae_utils", "notebooks", "checkpoints", "requirements.txt", "pyproject.toml")
    assert not set(needed) & set(ignored)
    assert "!data/README.md" in ignored


def test_the_dev_container_is_the_same_image_on_the_readers_checkout() -> None:
    path = ROOT / ".devcontainer" / "devcontainer.json"
    about = json.loads(path.read_text())
    assert (path.parent / about["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert (path.parent / about["build"]["context"]).resolve() == ROOT
    assert about["remoteUser"] == only("USER")
    # The checkout may lie anywhere: it takes the place of the image's own copy of the package.
    assert about["postCreateCommand"] == "pip install --user --no-deps --editable ."


def test_binder_installs_the_tested_versions_and_the_series_in_place() -> None:
    folder = ROOT / ".binder"  # Binder, which would take the Dockerfile, prefers it
    lines = (folder / "requirements.txt").read_text().splitlines()
    wanted = [line.split() for line in lines if not line.startswith("#")]
    assert wanted == [["-r", "../requirements.txt"], ["-e", "."]]
    python = (folder / "runtime.txt").read_text().strip().replace("python-", "python:")
    assert only("FROM").startswith(python)


# ---------------------------------------------------------------- hooks


def hooks() -> list[dict[str, Any]]:
    return [
        hook for repo in read_yaml(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]
    ]


def test_every_hook_is_local_and_uses_what_is_installed() -> None:
    assert [repo["repo"] for repo in read_yaml(".pre-commit-config.yaml")["repos"]] == ["local"]
    assert [hook["id"] for hook in hooks()] == ["ruff-check", "ruff-format", "notebooks"]
    assert {hook["language"] for hook in hooks()} == {"system"}


def call(entry: str, *paths: str) -> subprocess.CompletedProcess[str]:
    """Run a hook's entry as pre-commit does, `python` being the one that runs the tests."""
    words = [sys.executable if word == "python" else word for word in shlex.split(entry)]
    return subprocess.run(
        [*words, *paths], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize("hook", hooks()[:2], ids=lambda hook: hook["id"])
def test_the_hooks_of_ruff_notice_what_is_wrong(hook: dict[str, Any], tmp_path: Path) -> None:
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text('"""Nothing."""\n\nx = 1\n')
    bad.write_text("import os\nx=  1\n")
    assert call(hook["entry"], str(good)).returncode == 0
    before = bad.read_text()
    done = call(hook["entry"], str(bad))
    # pre-commit fails a hook that says so, and one that changed a file.
    assert done.returncode != 0 or bad.read_text() != before


def test_the_hook_of_the_notebooks_runs_their_rules() -> None:
    done = call(hooks()[2]["entry"] + " --collect-only")
    assert done.returncode == 0, done.stdout
    for rule in (
        "test_a_notebook_is_executed_small_and_readable[02_label_cvae]",
        "test_a_checked_cell_says_something[02_label_cvae]",
        "test_notebook_links_lead_somewhere",
    ):
        assert rule in done.stdout
    assert re.match(hooks()[2]["files"], "notebooks/02_label_cvae.ipynb")
    assert hooks()[2]["pass_filenames"] is False  # pytest would take them for tests


# ---------------------------------------------------------------- citation, changes, contributing


def test_the_citation_is_valid_and_says_what_the_project_says() -> None:
    citation = read_yaml("CITATION.cff")
    required = {"cff-version", "message", "title", "authors"}  # of the format's version 1.2.0
    assert required <= set(citation)
    assert set(citation) <= required | {"type", "abstract", "version", "license", "keywords"}
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["version"] == PYPROJECT["version"]
    assert citation["license"] == PYPROJECT["license"]
    assert citation["authors"] == [{"name": "The conditional VAE notebooks contributors"}]
    readme = (ROOT / "README.md").read_text()
    assert readme.startswith(f"# {citation['title']}\n")
    assert len(set(citation["keywords"])) == len(citation["keywords"])


def test_the_changelog_has_the_version_that_pyproject_has() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    first = re.findall(r"^## \[(.+?)\](?:: (\S+))?", text, re.MULTILINE)[0]
    assert PYPROJECT["version"] in first
    sections = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert sections <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    for path in re.findall(r"`(docs/\S+?)`", text):
        assert (ROOT / path).is_file(), path


def test_contributing_names_every_make_target_and_none_else() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):(?!=)", makefile, re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b(?=[ `])", text)) == targets


def test_contributing_speaks_of_files_and_limits_that_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for path in re.findall(r"`([\w/]+(?:\.py|\.md|\.toml|\.txt|/))`", text):
        places = (ROOT / path, ROOT / "cvae_utils" / path)
        assert path == "build/" or any(place.exists() for place in places), path
    rules = (ROOT / "tests" / "test_project.py").read_text()
    for said, rule in (
        ("smaller than 2 MB", "st_size < 2_000_000"),
        ("50 cells at most", "len(_before_the_exercises(notebook)) <= 50"),
        ("longer than 25 lines", "<= 25"),
        ("three more code cells", "len(shown) == 4"),
        ("three exercises", '["1", "2", "3"]'),
        ("three or more cells tagged", "len(checked) >= 3"),
    ):
        assert said in text
        assert rule in rules
