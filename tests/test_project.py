"""The files around the library: environments, notebooks, weights and what the README promises."""

from __future__ import annotations

import ast
import itertools
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml
from packaging.requirements import Requirement

from cvae_utils import checkpoints, evaluation, masks
from tools import launch

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LESSONS = NOTEBOOKS[1:]  # the playground comes first
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def wanted() -> list[Requirement]:
    lines = PYPROJECT["dependencies"] + PYPROJECT["optional-dependencies"]["dev"]
    return [Requirement(line) for line in lines]


def pinned_versions() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {pin.name.lower(): str(pin.specifier).removeprefix("==") for pin in pinned}


@pytest.mark.parametrize("requirement", wanted(), ids=lambda requirement: requirement.name)
def test_every_dependency_has_a_tested_version_within_its_bounds(requirement: Requirement) -> None:
    assert requirement.specifier.contains(pinned_versions()[requirement.name.lower()])


@pytest.mark.parametrize(
    ("folders", "extras"),
    [
        (("cvae_utils", "notebooks"), ()),
        (("tests", "tools", "docs/site"), ("dev",)),
        (("benchmarks",), ("dev", "bench")),
    ],
    ids=["the series", "its tests and pages", "its benchmarks"],
)
def test_what_is_imported_is_declared(folders: tuple[str, ...], extras: tuple[str, ...]) -> None:
    """And does not just happen to be there, because another package wants it."""
    declared = {Requirement(line).name.lower() for line in PYPROJECT["dependencies"]}
    for extra in extras:
        lines = PYPROJECT["optional-dependencies"][extra]
        declared |= {Requirement(line).name.lower() for line in lines}
    ours = {"cvae_utils", "tests", "tools", "benchmarks", *sys.stdlib_module_names}
    ours.add("onnx")  # `make page` alone wants it, of the library
    sold_as = packages_distributions()
    for source, code in itertools.chain.from_iterable(map(_python_in, folders)):
        for module in {name.partition(".")[0] for name in _imported(code)} - ours:
            distributions = {name.lower().replace("_", "-") for name in sold_as.get(module, [])}
            # What only an extra brings need not be here, and then has no other name.
            assert not distributions or declared & distributions, f"{source} imports {module}"


def _python_in(folder: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the code of each module and each notebook in a folder."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield path.name, path.read_text()
    for path in sorted((ROOT / folder).rglob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code" and not cell.source.startswith("%"):
                yield path.name, cell.source


def _imported(code: str) -> set[str]:
    """Return what Python code imports, wherever it does: `a.b` for `from a import b` too."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module, "a relative import does not say what it is of"
            names |= {f"{node.module}.{name.name}" for name in node.names}
    return names


def test_environment_yml_installs_just_what_pyproject_and_requirements_say() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, through_pip = environment["dependencies"]
    assert python == f"python{PYPROJECT['requires-python']}"
    assert pip == "pip"
    # Nothing is named a second time: pip reads the tested versions, and pyproject through ".".
    assert through_pip == {"pip": ["--requirement requirements.txt", "--editable ."]}
    assert "conda-forge" in environment["channels"]


@pytest.mark.reliability(
    "versions",
    "torch and torchvision in the oldest and the newest versions",
    "the README names those that `make oldest` and `make test` install",
)
@pytest.mark.parametrize("name", ["torch", "torchvision"])
def test_the_readme_names_the_versions_that_were_tried(name: str) -> None:
    readme = (ROOT / "README.md").read_text()
    tried = readme.partition("<!-- versions -->")[2].partition("<!-- end -->")[0]
    lower = next(r for r in wanted() if r.name == name).specifier
    oldest = str(lower).removeprefix(">=") + ".0"
    assert re.findall(rf"\b{name} ([\d.]+\d)", tried) == [oldest, pinned_versions()[name]]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_the_readme_gives_a_notebooks_time_as_its_own_head_does(path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    (row,) = [line for line in readme.splitlines() if f"](notebooks/{path.name}) | " in line]
    head = nbformat.read(path, as_version=4).cells[0].source
    (whole,) = re.findall(r"^\| the whole notebook \| ([^|]+) \|", head, flags=re.MULTILINE)
    watched = re.findall(r"^\| of which you watch .*? \| ([^|:]+)[:|]", head, flags=re.MULTILINE)
    training = f" ({watched[0].strip()} of training)" if watched else ""
    assert f"| {whole}{training} |" in row


def test_no_file_names_a_package_registry() -> None:
    hosts = re.compile(r"py" r"pi\.org|python" r"hosted|anaconda\.org|registry\.npm" r"js")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    files = [ROOT / line for line in listed.stdout.splitlines()] or list(ROOT.glob("*.*"))
    for path in files:
        if path.is_file() and path.suffix != ".safetensors":
            assert not hosts.search(path.read_text(errors="ignore")), path


def test_importing_the_package_brings_in_no_heavy_guest() -> None:
    program = (
        "import sys, cvae_utils; from cvae_utils import cli; "
        "guests = 'torchvision', 'torch._dynamo', 'matplotlib', 'ipywidgets', 'IPython', 'pandas'; "
        "print([guest for guest in guests if guest in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


ROOMS = [
    "checks", "files", "data", "masks", "models", "objectives", "distributed", "interrupts",
    "snapshots", "graphs", "training", "checkpoints", "evaluation", "plotting", "widgets", "export",
    "cli",
]  # fmt: skip


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_imports_from_one_further_down(room: str) -> None:
    package = ROOT / "cvae_utils"
    folder = package / room
    files = sorted(folder.glob("*.py")) if folder.is_dir() else [package / f"{room}.py"]
    assert files
    later = ROOMS[ROOMS.index(room) + 1 :]
    for path in files:
        ours = [name.split(".") for name in _imported(path.read_text())]
        imported = {name[1] for name in ours if name[0] == "cvae_utils" and len(name) > 1}
        assert not imported & set(later), path


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_executed_small_and_readable(path: Path) -> None:
    check_notebook(path, is_lesson=path in LESSONS)


def check_notebook(path: Path, is_lesson: bool) -> None:
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert path.stat().st_size < 2_000_000
    assert str(ROOT.parent) not in path.read_text()  # nobody else has this folder
    assert len(_before_the_exercises(notebook)) <= 50
    imports = r"^(import .+|from \S+ import (\([^)]*\)|.+))\n"
    read = [re.sub(imports, "", cell.source, flags=re.MULTILINE) for cell in code]
    assert all(len(source.splitlines()) <= 25 for source in read)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code) == 1
    # The playground is played with: it has little code to read.
    shown = [cell for cell in _before_the_exercises(notebook) if cell.cell_type == "code"]
    assert is_lesson or len(shown) == 4


def _before_the_exercises(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Return the cells of the lesson itself, without those that open it elsewhere."""
    lesson = itertools.takewhile(
        lambda cell: not cell.source.startswith("## Exercises"), notebook.cells
    )
    return [cell for cell in lesson if cell.id not in (launch.LINKS, launch.INSTALL)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_exercises_ask_for_a_guess_and_keep_their_solutions_folded(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    cells = notebook.cells[len(_before_the_exercises(notebook)) :]
    prose = "".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert re.findall(r"^\*\*(\d)\.\*\*", prose, re.MULTILINE) == ["1", "2", "3"]
    assert prose.count("<details>") == prose.count("</details>") == 3
    solutions = [cell for cell in cells if "hide-cell" in cell.metadata.get("tags", [])]
    assert len(solutions) >= 3
    for cell in solutions:  # the tag folds it on the site, the rest in JupyterLab
        assert cell.metadata["jupyter"] == {"source_hidden": True, "outputs_hidden": True}
        assert cell.outputs  # as it was executed
    asked = [cell.source for cell in cells if cell.cell_type == "code" and cell not in solutions]
    guesses = {name for source in asked for name in re.findall(r"\bguess\w*", source)}
    assert guesses
    told = "".join(cell.source for cell in solutions)
    assert all(re.search(rf"\b{name}\b", told) for name in guesses)  # each is compared


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_checked_cell_says_something(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    checked = [
        cell for cell in notebook.cells if "nbval-check-output" in cell.metadata.get("tags", [])
    ]
    assert len(checked) >= 3
    assert all(output.output_type == "stream" for cell in checked for output in cell.outputs)
    assert all(cell.outputs for cell in checked)
    # A claim that came out false must not be stored as the wanted output; a VAE's is stored so.
    text = "".join(output.text for cell in checked for output in cell.outputs)
    assert not re.search(r": +False$", text.replace("where it came from: False", ""), re.MULTILINE)


def test_the_page_of_the_weights_gives_their_own_commands_and_figures() -> None:
    page = (ROOT / "checkpoints" / "README.md").read_text()
    shares = ("accuracy", "faithfulness", "coverage")
    for path in sorted((ROOT / "checkpoints").glob("*.safetensors")):
        _, provenance = checkpoints.load(path)
        row = next(line for line in page.splitlines() if line.startswith(f"| `{path.stem}`"))
        assert f"`{provenance.command}`" in row
        minutes = provenance.training["seconds"] / 60
        assert f"| {minutes:.0f} min |" in row
        figures = [
            100 * value if name in shares else value
            for name, value in provenance.metrics.items()
            if name in (*shares, "negative_elbo") or name.startswith("nll_")
            if not name.endswith("_error") and not name.startswith("nll_prior")
        ]
        assert figures
        assert all(f"{figure:.2f}" in row for figure in figures)


def test_the_readmes_comparison_is_the_one_that_was_measured() -> None:
    readme = (ROOT / "README.md").read_text()
    shown = (ROOT / "docs" / "comparison.md").read_text()
    assert f"<!-- comparison -->\n{shown}<!-- end -->" in readme
    compared = pd.read_csv(ROOT / "docs" / "comparison.csv", index_col="model")
    assert evaluation.readable(compared).to_markdown() + "\n" == shown
    assert evaluation.models_in(compared) == list(evaluation.COMPARED)
    for name in evaluation.COMPARED:
        model, provenance = checkpoints.load(name)
        measured = compared.loc[name]
        assert measured["parameters"] == evaluation.parameters(model)
        assert measured["training_minutes"] == pytest.approx(
            provenance.training["seconds"] / 60, abs=1e-3
        )
        # What was measured right after training, by another run.
        recorded = provenance.metrics
        if "negative_elbo" in recorded:
            assert measured["negative_elbo"] == pytest.approx(recorded["negative_elbo"], abs=0.01)
        else:
            assert measured["faithfulness"] == pytest.approx(recorded["faithfulness"], abs=0.001)
            assert measured["coverage"] == pytest.approx(recorded["coverage"], abs=0.002)


def test_the_table_of_holes_is_the_one_that_was_measured() -> None:
    holes = evaluation.recorded_holes()
    assert (ROOT / "docs" / "holes.csv").read_text() == holes.to_csv(float_format="%.4f")
    assert (ROOT / "docs" / "holes.md").read_text() == holes.round(1).to_markdown() + "\n"
    assert [*holes.index] == [name for name in masks.SOURCES if name != "mixed"]
    for mask, row in holes.iterrows():
        name = f"inpainting_{str(mask).replace('-', '_')}"
        plain, own, shared = (
            checkpoints.load(each)[1].metrics
            for each in (f"{name}_plain", name, "inpainting_mixed")
        )
        assert row.to_dict() == {
            "plain network": plain[f"nll_{mask}"],
            "−ELBO": own[f"negative_elbo_{mask}"],
            "codes from the prior": own[f"nll_prior_{mask}"],
            "codes from q": own[f"nll_{mask}"],
            "one CVAE for all masks": shared[f"nll_{mask}"],
        }


def test_readme_figures_of_the_holes_are_those_in_their_files() -> None:
    readme = (ROOT / "README.md").read_text()
    for mask in [name for name in masks.SOURCES if name != "mixed"]:
        name = f"inpainting_{mask.replace('-', '_')}"
        row = next(line for line in readme.splitlines() if f"evaluate {name}`" in line)
        figures = [
            checkpoints.load(f"{name}_plain")[1].metrics[f"nll_{mask}"],
            *(
                checkpoints.load(name)[1].metrics[f"{part}_{mask}"]
                for part in ("negative_elbo", "nll_prior", "nll")
            ),
            checkpoints.load("inpainting_mixed")[1].metrics[f"nll_{mask}"],
        ]
        wanted = " | ".join(f"{figure:.1f}" for figure in figures)
        assert wanted in row


def test_readme_names_every_notebook_and_no_make_target_that_there_is_not() -> None:
    readme = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"`make (\w+)", readme))
    assert {"lab", "test", "run", "lint", "bench"} <= targets
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in makefile for target in targets)
    assert all(f"notebooks/{path.name}" in readme for path in NOTEBOOKS)


def test_notebook_links_lead_somewhere() -> None:
    for path in NOTEBOOKS:
        text = json.dumps(nbformat.read(path, as_version=4))
        for target in re.findall(r"\]\((\w+\.ipynb)\)", text):
            assert (path.parent / target).is_file(), (path.name, target)
