"""What opens the notebooks on Colab and Binder: links, and a cell that fetches the series."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

import nbformat
import pytest

from tests.test_project import LESSONS, NOTEBOOKS, check_notebook
from tools import launch

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "notebooks" / "01_vae.ipynb"


@pytest.mark.parametrize(
    ("address", "repository"),
    [
        ("https://github.com/owner/a-name", "owner/a-name"),
        ("https://github.com/owner/a-name.git", "owner/a-name"),
        ("https://github.com/owner/name.of.it/", "owner/name.of.it"),
        ("git@github.com:owner/a-name.git", "owner/a-name"),
        ("ssh://git@github.com/owner/a-name.git", "owner/a-name"),
        ("https://me@github.com/owner/a-name.git", "owner/a-name"),
        ("https://www.github.com/owner/a-name", "owner/a-name"),
        ("https://me@example.org/github.com/a-name", ""),
        ("https://example.org/owner/a-name", ""),
        ("https://github.com.example.org/owner/a-name", ""),
        ("/somewhere/on/this/disk", ""),
        ("", ""),
    ],
)
def test_only_a_repository_on_github_can_be_opened(address: str, repository: str) -> None:
    assert launch.on_github(address) == repository


def test_the_address_is_that_of_the_repository_one_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert launch.origin() == ""
    address = "git@github.com:owner/a-name.git"
    for words in (["init"], ["remote", "add", "origin", address]):
        subprocess.run(["git", *words], check=True, capture_output=True)
    assert launch.origin() == address
    monkeypatch.setenv("PATH", str(tmp_path))  # no git, as in a container
    assert launch.origin() == ""


def test_without_such_an_address_the_notebooks_stay_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copy(NOTEBOOK, tmp_path))
    monkeypatch.setattr(launch, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(launch, "origin", lambda: "/somewhere")
    assert launch.main() == 1
    assert "origin must be a repository on GitHub, got /somewhere" in capsys.readouterr().err
    assert copy.read_bytes() == NOTEBOOK.read_bytes()


def test_links_and_install_cell_come_behind_the_title_and_are_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copy(NOTEBOOK, tmp_path))
    before = nbformat.read(copy, as_version=4)
    monkeypatch.setattr(launch, "NOTEBOOKS", tmp_path)
    for owner in ("first", "second"):
        monkeypatch.setattr(launch, "origin", lambda owner=owner: f"git@github.com:{owner}/x.git")
        assert launch.main() == 0
    after = nbformat.read(copy, as_version=4)
    nbformat.validate(after)
    title, links, install, *rest = after.cells
    assert [title, *rest] == before.cells
    file = "second/x/blob/main/notebooks/01_vae.ipynb"
    assert f"(https://colab.research.google.com/github/{file})" in links.source
    file = "gh/second/x/main?urlpath=lab/tree/notebooks/01_vae.ipynb"
    assert f"(https://mybinder.org/v2/{file})" in links.source
    assert "https://github.com/second/x series" in install.source
    assert "first/x" not in links.source + install.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_with_both_cells_a_notebook_keeps_the_rules_of_the_house(
    path: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copy(path, tmp_path))
    launch.add(copy, "owner/name")
    notebook = nbformat.read(copy, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, start=1):  # as `make refresh` counts them
        cell.execution_count = count
    nbformat.write(notebook, copy)
    check_notebook(copy, is_lesson=path in LESSONS)


def test_where_the_series_is_not_installed_the_cell_fetches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Colab: a Python that has what the series needs, but not the series."""
    published = tmp_path / "published"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "cvae_utils", published / "cvae_utils", ignore=ignore)
    (published / "checkpoints").mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "checkpoints/vae.safetensors"):
        shutil.copy(ROOT / name, published / name)
    git = ["git", "-c", "user.name=Nobody", "-c", "user.email=nobody@example.org"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "all"]):
        subprocess.run([*git, *words], cwd=published, check=True)
    venv.create(tmp_path / "python", with_pip=True)
    packages = next((tmp_path / "python").glob("lib/python*/site-packages"))
    (packages / "needs.pth").write_text(sysconfig.get_path("purelib"))
    cell = launch.CELL.format(address=published.as_uri())
    use = "from cvae_utils import checkpoints\nprint(checkpoints.load_vae('vae').latent_dim)"
    (tmp_path / "cells.ipy").write_text(f"{cell}\n{use}\n{cell}\nprint('once more')\n")
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")  # its own setuptools, from no registry
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    python = tmp_path / "python" / "bin" / "python"
    words = [str(python), "-m", "IPython", "cells.ipy"]
    look = "from importlib.util import find_spec as f; print(bool(f('torch')), f('cvae_utils'))"
    there = [str(python), "-c", look]  # looks for it only: to import torch takes seconds
    assert subprocess.check_output(there, cwd=tmp_path, text=True) == "True None\n"
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "16\nonce more" in done.stdout, done.stdout + done.stderr
    assert (tmp_path / "series" / "cvae_utils").is_dir()
