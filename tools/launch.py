"""Links that open a notebook on Colab and Binder, and the cell that installs the series there.

Both open what lies on GitHub, so the notebooks have to say where that is: `make launch` writes the
address that this repository was cloned from into each of them. Once more replaces it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
LINKS, INSTALL = "open-elsewhere", "install"  # the ids of the two cells

# Colab has PyTorch, but not the series; on Binder and at home the cell does nothing.
CELL = """\
# Only where the series is not installed, as on Colab: fetch it, and what it needs.
import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("cvae_utils") is None:
    !git clone --quiet --depth 1 {address} series
    %pip install --quiet --editable ./series
    sys.path.append(str(Path("series").resolve()))  # this kernel was started before\
"""


def origin() -> str:
    """Return the address that this repository was cloned from, empty if there is none."""
    words = ["git", "remote", "get-url", "origin"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:  # no git, as in a container
        return ""
    return done.stdout.strip()


def on_github(address: str) -> str:
    """Return OWNER/NAME of a repository's address, empty if it is not on GitHub."""
    found = re.fullmatch(
        r"(?:https://(?:[^@/]+@)?(?:www\.)?github\.com/|(?:ssh://)?git@github\.com[:/])"
        r"([\w.-]+/[\w.-]+?)(?:\.git)?/?",
        address,
    )
    return found[1] if found else ""


def links(repository: str, notebook: str) -> str:
    """Return a line of Markdown that opens a notebook, given by its file's name, elsewhere.

    Args:
        repository: OWNER/NAME on GitHub; its branch is main.
        notebook: the file's name in `notebooks/`.
    """
    colab = f"https://colab.research.google.com/github/{repository}/blob/main/notebooks/{notebook}"
    binder = f"https://mybinder.org/v2/gh/{repository}/main?urlpath=lab/tree/notebooks/{notebook}"
    return f"Open it on [Colab]({colab}) or on [Binder]({binder})."


def add(path: Path, repository: str) -> None:
    """Put both cells behind a notebook's title, in the place of those that were there."""
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.id not in (LINKS, INSTALL)]
    said = nbformat.v4.new_markdown_cell(links(repository, path.name), id=LINKS)
    install = nbformat.v4.new_code_cell(
        CELL.format(address=f"https://github.com/{repository}"),
        id=INSTALL,
        # Folded in JupyterLab and on Colab; the site, which executes nothing, does without it.
        metadata={"jupyter": {"source_hidden": True}, "tags": ["remove-cell"]},
    )
    notebook.cells = [cells[0], said, install, *cells[1:]]
    nbformat.write(notebook, path)


def main() -> int:
    """Add them to every notebook; return 1 if there is no address to write."""
    address = origin()
    repository = on_github(address)
    if not repository:
        print(f"origin must be a repository on GitHub, got {address or 'none'}", file=sys.stderr)
        return 1
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        add(path, repository)
    print(f"the notebooks open from {repository}; `make refresh` executes them with the new cell")
    return 0


if __name__ == "__main__":
    sys.exit(main())
