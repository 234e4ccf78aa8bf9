"""The whole series on another data set, by its one parameter; and the weights that this takes.

`make series` runs it, in minutes; `make test` leaves it out.

The pictures are Fashion-MNIST's where its files are installed, else MNIST's under its name. There
are few of them, and one epoch: what is tested is that every cell runs and shows what it should.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from cvae_utils import checkpoints, cli, data
from tests.mirrors import clothes, offline_digits, write_archives

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))
DATASET = "fashion-mnist"
LEARN, TEST = 500, 100
SHIPPED = sorted(path.stem for path in checkpoints.folder().glob("*.safetensors"))
SETTINGS = {
    "DATASET": DATASET, "EPOCHS": 1, "CODES": 2, "BATCH_SIZE": 100, "BATCH_SIZES": (100, 250),
}  # fmt: skip
# Whatever Python starts below a folder with this file takes the small files for the originals.
CUSTOM = """
import dataclasses, pathlib
from cvae_utils import checkpoints, data

data.ORIGINALS["{dataset}"] = dataclasses.replace(
    data.ORIGINALS["{dataset}"], packed_md5={checksums}, unpacked_md5=(None,) * 4, mirrors=()
)
checkpoints.folder = lambda data="mnist": (
    pathlib.Path("{shipped}") if data == "mnist" else pathlib.Path("{weights}", data)
)
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Write the small data set; return its folder and checksums."""
    images, labels = clothes() or offline_digits()
    each = (LEARN + TEST) // 10  # of each label; the labels take turns
    chosen = np.stack([np.flatnonzero(labels == n)[:each] for n in range(10)], axis=1).ravel()
    root = tmp_path_factory.mktemp("data")
    raw = root / data.ORIGINALS[DATASET].torchvision / "raw"
    pixels = images.reshape(-1, 28, 28)
    return root, write_archives(raw, pixels[chosen], labels[chosen], LEARN)


@pytest.fixture(scope="module")
def weights(small: tuple[Path, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepare every weights file of the series for it, by the shipped ones' commands."""
    root, checksums = small
    folder, shipped = tmp_path_factory.mktemp("weights"), checkpoints.folder()
    original = data.ORIGINALS[DATASET]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(data.ORIGINALS, DATASET, dataclasses.replace(
            original, packed_md5=tuple(checksums), unpacked_md5=(None,) * 4, mirrors=()
        ))  # fmt: skip
        patch.setenv(data.ENVIRONMENT_VARIABLE, str(root))
        patch.setattr(
            checkpoints, "folder", lambda of="mnist": shipped if of == "mnist" else folder / of
        )
        patch.setattr("cvae_utils.evaluation.report.PER_LABEL", 10)  # 1,000 take seconds
        patch.setattr("cvae_utils.evaluation.report.CODES_OF_A_HOLE", 2)
        cli.prepare(DATASET, *SHIPPED, effort=1e-3)
        made = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
        cli.prepare(DATASET, *SHIPPED, effort=1e-3)  # nothing is left to do
        assert {path: path.stat().st_mtime_ns for path in made} == made
    return folder


@pytest.mark.parametrize("name", SHIPPED)
def test_weights_are_prepared_by_the_shipped_ones_commands(weights: Path, name: str) -> None:
    shipped, ours = checkpoints.load(name)
    model, theirs = checkpoints.load(weights / DATASET / f"{name}.safetensors")
    assert theirs.data["name"] == DATASET
    assert model.config | {"temperature": 0} == shipped.config | {"temperature": 0}
    assert (theirs.training["epochs"], theirs.data["train"]) == (1, LEARN)
    settings = {"batch_size", "max_learning_rate", "seed", "precision", "mask", "penalty"}
    for setting in settings & ours.training.keys():
        assert theirs.training[setting] == ours.training[setting]
    assert f"--out checkpoints/{DATASET}/{name}.safetensors" in theirs.command
    assert str(weights) not in theirs.command


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_another_data_set(
    path: Path,
    small: tuple[Path, list[str]],
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, checksums = small
    (tmp_path / "sitecustomize.py").write_text(
        CUSTOM.format(
            dataset=DATASET, checksums=tuple(checksums), shipped=checkpoints.folder(),
            weights=weights,
        )
    )  # fmt: skip
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))  # nobody else's settings or kernels
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    monkeypatch.setenv(data.ENVIRONMENT_VARIABLE, str(root))
    notebook = nbformat.read(path, as_version=4)
    knobs = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    defined = {line.split(" = ")[0] for line in knobs.source.splitlines()}
    knobs.source += "".join(
        f"\n{name} = {value!r}" for name, value in SETTINGS.items() if name in defined
    )
    assert f"DATASET = {DATASET!r}" in knobs.source
    # An error in a cell is raised here.
    done = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={
        "metadata": {"path": str(path.parent)}
    }).execute()  # fmt: skip
    printed = "".join(
        output.text for cell in done.cells for output in cell.get("outputs", [])
        if output.output_type == "stream"
    )  # fmt: skip
    assert "it learns for" not in printed  # all were prepared, and none is MNIST's
    assert (f"{DATASET}: {LEARN} train, {TEST} test" in printed) is ("print(dataset)" in str(done))
    named = any("widgets." in c.source and "dataset.classes" in c.source for c in done.cells)
    assert ("Ankle boot" in str(done.metadata.get("widgets"))) is named
