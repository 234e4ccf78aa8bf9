"""`docs/your-data.md`, run as a reader would on a folder of pictures; and Fashion's own door.

`python -m tests.test_your_data docs` draws the page's two figures again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageOps
from torch import Tensor

from cvae_utils import checkpoints, data, evaluation, models, objectives, plotting, training
from cvae_utils.cli import main
from tests.mirrors import clothes, offline_digits, write_archives

PAGE = Path(__file__).resolve().parent.parent / "docs" / "your-data.md"
EACH = 100  # pictures of a class
DIGITS = {"zero": 0, "one": 1, "two": 2, "three": 3, "five": 5}
MANY = dict(zip(("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
                 "two in a mirror", "four upside down"), range(12), strict=True))  # fmt: skip
CLOTHES = {"trouser": 1, "dress": 3, "sneaker": 7, "bag": 8, "ankle boot": 9}
SMALL = ["--epochs", "1", "--width", "16", "--device", "cpu"]
Captured = pytest.CaptureFixture[str]


# ---------------------------------------------------------------- the page


def blocks(kind: str) -> list[tuple[int, str]]:
    """Return the page's blocks of a kind, each after the number of lines above it."""
    page = PAGE.read_text()
    fences = re.finditer(rf"^```{kind}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [(page[: fence.start(1)].count("\n"), fence[1]) for fence in fences]


def write_picture(pixels: np.ndarray, path: Path, number: int) -> None:
    """Write a digit (28, 28), ink on black, as somebody else would: another size, often on white.

    Every fourth is on black paper, every fifth lies on its side with a note that says so, and
    every seventh is transparent where there is no ink.
    """
    size = 30 + 7 * (number % 13)
    grey = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)
    wide = Image.new("L", (size + 10 * (number % 3), size))  # paper at the right
    wide.paste(grey)
    if number % 7 == 3:
        ink = Image.new("RGBA", wide.size, (30, 0, 80, 0))
        ink.putalpha(wide)
        ink.save(path)
        return
    shown = wide if number % 4 == 0 else ImageOps.invert(wide)
    if number % 5 == 1:
        note = Image.Exif()
        note[0x0112] = 6  # to be turned clockwise
        shown.rotate(90, expand=True).save(path, exif=note)
        return
    shown.convert("RGB" if number % 2 else "L").save(path)


def twelve_classes() -> tuple[np.ndarray, np.ndarray]:
    """Return the offline digits with two classes more, which are turned ones of two others."""
    images, labels = offline_digits()
    two, four = (images[labels == label].reshape(-1, 28, 28) for label in (2, 4))
    turned = np.concatenate([two[:, :, ::-1], four[:, ::-1]]).reshape(-1, 784)
    further = np.repeat([10, 11], [len(two), len(four)])
    return np.concatenate([images, turned]), np.concatenate([labels, further])


def write_folder(
    root: Path, images: np.ndarray, labels: np.ndarray, names: dict[str, int], each: int
) -> None:
    """Write `each` pictures of each class to a folder of its name below `root`, and some litter."""
    for name, label in names.items():
        folder = root / name
        folder.mkdir(parents=True)
        (folder / "Thumbs.db").write_text("no picture")
        for number, pixels in enumerate(images[labels == label][:each]):
            write_picture(pixels.reshape(28, 28), folder / f"{number:04}.png", number)
    (root / ".ipynb_checkpoints").mkdir(exist_ok=True)
    (root / "README.txt").write_text("no class")


@dataclass
class Run:
    """What the page did in a folder.

    Attributes:
        folder: where it ran.
        names: the classes that were written, with the labels that their pictures came from.
        space: the names that the page defined.
        printed: what each block of Python printed.
    """

    folder: Path
    names: dict[str, int]
    space: dict[str, Any]
    printed: list[str]

    def __getitem__(self, name: str) -> Any:
        return self.space[name]


def run_page(
    folder: Path, images: np.ndarray, labels: np.ndarray, names: dict[str, int], each: int = EACH
) -> Run:
    """Run the page's Python, block by block in one namespace, on a folder of pictures."""
    write_folder(folder / "pictures", images, labels, names, each)
    space: dict[str, Any] = {"__name__": "page"}
    printed = []
    with contextlib.chdir(folder):
        for above, block in blocks("python"):
            code = compile("\n" * above + block, str(PAGE), "exec")
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(code, space)  # noqa: S102 - our own page
            printed.append(out.getvalue())
    return Run(folder, names, space, printed)


@pytest.fixture(scope="module")
def on_digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_page(tmp_path_factory.mktemp("digits"), *offline_digits(), DIGITS)


@pytest.fixture(scope="module", params=["digits", "clothes"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    if request.param == "digits":
        done: Run = request.getfixturevalue("on_digits")
        return done
    found = clothes()
    if found is None:
        pytest.skip("Fashion-MNIST's files are not installed")
    return run_page(tmp_path_factory.mktemp("clothes"), *found, CLOTHES)


def test_the_classes_are_the_folders_in_alphabetical_order(run: Run) -> None:
    classes = sorted(run.names)
    assert run["classes"] == classes
    assert run["mine"].images.shape == (EACH * len(classes), 28, 28)
    assert run["mine"].labels.bincount().tolist() == [EACH] * len(classes)


def test_every_picture_is_upright_ink_on_paper_with_its_proportions(
    run: Run, on_digits: Run
) -> None:
    images, labels = run["mine"].images.float(), run["mine"].labels
    edge = torch.cat([images[:, 0], images[:, -1]], dim=1)
    assert edge.median() == 0  # paper, whatever it was in the file
    if run is not on_digits:
        return
    pixels, digits = offline_digits()
    for label, name in enumerate(run["classes"]):
        numbers = range(0, EACH, 3)  # the square ones
        wanted = torch.from_numpy(pixels[digits == DIGITS[name]][numbers]).view(-1, 28, 28)
        off = (images[labels == label][numbers] - wanted).abs().mean(dim=(1, 2))
        assert off.max() < 12  # of 255: up and down through another size costs a little
    wide = images[labels == 0][2::3]  # 20 pixels of paper at the right became paper above and below
    assert wide[:, :3].max() == 0
    assert wide[:, -3:].max() == 0


def test_the_halves_share_no_picture_and_hold_every_class(run: Run) -> None:
    mine, train, test = run["mine"], run["train"], run["test"]
    assert len(train) + len(test) == len(mine)
    assert test.labels.bincount().tolist() == [EACH // 5] * len(run["classes"])
    assert torch.equal(mine.images[run["kept"]], test.images)
    assert torch.equal(mine.images[~run["kept"]], train.images)
    # The seed decides, and not the order of the files alone.
    assert not run["kept"][: EACH // 5].all()


def test_the_trained_model_beats_an_untrained_one_on_pictures_held_out(
    run: Run, on_digits: Run
) -> None:
    assert run["before"] == pytest.approx(543, abs=2)
    assert run["held_out"].negative_elbo < 0.6 * run["before"]
    if run is on_digits:  # as the page says of them
        assert run["learned"].negative_elbo < run["held_out"].negative_elbo
    assert len(run["history"].epochs) == run["settings"]["epochs"] == 50
    again = evaluation.elbo(run["again"], run["test"])
    assert again.negative_elbo == run["held_out"].negative_elbo


def own_part(images: Tensor, labels: Tensor) -> Tensor:
    """Return each class's mean picture less the mean of those, (C, 784), of length 1."""
    means = torch.stack([images[labels == label].flatten(1).mean(0) for label in labels.unique()])
    return torch.nn.functional.normalize(means - means.mean(0))


def test_each_row_holds_the_class_of_its_name(run: Run, on_digits: Run) -> None:
    drawn: Tensor = run["drawn"]
    assert drawn.shape == (10 * len(run["classes"]), 28, 28)
    shown = rows_of(run["figure"])
    assert shown == run["classes"]
    # What a class has and the others have not, in many drawn pictures and in those held out.
    test, many = run["test"], torch.arange(5).repeat_interleave(200)
    with torch.no_grad():
        more = run["model"].sample(many, torch.Generator().manual_seed(1))
    drawn_own, own = own_part(more, many), own_part(data.to_unit(test.images), test.labels)
    assert (drawn_own @ own.T).argmax(1).tolist() == list(range(5))
    if run is on_digits:  # the shipped classifier knows them, and never saw this model
        read = checkpoints.load_classifier().read(drawn)
        wanted = torch.tensor([DIGITS[name] for name in shown]).repeat_interleave(10)
        assert (read == wanted).float().mean() > 0.7


def test_the_page_takes_more_than_ten_classes(tmp_path: Path, rows: Rows) -> None:
    run = run_page(tmp_path, *twelve_classes(), MANY, each=40)
    classes = sorted(MANY)
    assert run["classes"] == classes
    assert run["mine"].labels.bincount().tolist() == [40] * 12
    splits = [run[name].num_classes for name in ("mine", "train", "test")]
    assert splits == [run["model"].num_classes] * 3 == [12] * 3
    assert run["held_out"].negative_elbo < 0.6 * run["before"]
    # Each row holds what its name says, the two turned digits among them.
    images, labels = evaluation.sample_labels(run["model"], 100)
    drawn, own = own_part(images, labels), own_part(data.to_unit(run["mine"].images),
                                                    run["mine"].labels)  # fmt: skip
    assert (drawn @ own.T).argmax(1).tolist() == list(range(12))
    again, _ = checkpoints.load(tmp_path / "mine.safetensors")
    assert again.num_classes == 12
    assert main(command(blocks("sh")[0][1].strip(), tmp_path)) == 0
    assert rows() == [classes] * 3  # seen, drawn, and by the command line


def test_the_checkpoint_comes_back_with_what_it_is(run: Run) -> None:
    path = run.folder / "mine.safetensors"
    model, (_, provenance) = checkpoints.load_generator(path), checkpoints.load(path)
    with torch.no_grad():
        drawn = model.sample(run["asked"], torch.Generator().manual_seed(0))
    assert torch.equal(drawn, run["drawn"])
    assert provenance.data["classes"] == sorted(run.names)
    assert provenance.data["train"] == len(run["train"])
    assert provenance.training == run["settings"]
    assert provenance.metrics == {"negative_elbo": run["held_out"].negative_elbo}


def test_the_page_prints_what_it_says(on_digits: Run) -> None:
    page = PAGE.read_text()
    pairs = re.findall(
        r"^```python\n.*?^```\n(?:\n```text\n(.*?)^```$)?", page, re.MULTILINE | re.DOTALL
    )
    assert len(pairs) == len(on_digits.printed)
    assert sum(bool(said) for said in pairs) == len(blocks("text")) == 4
    number = r"(?<=: )\d+"
    for said, printed in zip(pairs, on_digits.printed, strict=True):
        assert re.sub(number, "#", printed) == re.sub(number, "#", said)
        for wanted, found in zip(
            re.findall(number, said), re.findall(number, printed), strict=True
        ):
            assert int(found) == pytest.approx(int(wanted), rel=0.05, abs=1)  # another processor


def test_the_page_shows_its_own_figures(run: Run) -> None:
    shown = re.findall(r"!\[.+?\]\((.+?)\)", PAGE.read_text())
    assert shown == ["your-data-seen.png", "your-data-drawn.png"]
    for name in shown:
        with Image.open(run.folder / name) as new, Image.open(PAGE.parent / name) as kept:
            assert new.format == kept.format == "PNG"
        assert (PAGE.parent / name).stat().st_size < 100_000


def test_what_the_page_says_is_refused_is_refused(on_digits: Run, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="labels 0 to 9, got labels from 0 to 10"):
        data.Split(torch.zeros(11, 28, 28, dtype=torch.uint8), torch.arange(11))
    with pytest.raises(ValueError, match="labels 0 to 4, got labels from 5 to 5"):
        on_digits["model"].sample(torch.tensor([5]))
    ten = models.LabelCVAE(width=1)  # `num_classes` was forgotten
    with pytest.raises(ValueError, match=r"train must have num_classes = 10 .*, got 5"):
        training.fit(ten, objectives.negative_elbo, on_digits["train"], epochs=1)
    text = tmp_path / "letter.png"
    text.write_text("no picture")
    with pytest.raises(OSError, match=r"letter\.png"):
        on_digits["read"](text)


@pytest.mark.parametrize("pictures", [0, 1])
def test_a_class_of_too_few_pictures_is_named(pictures: int, tmp_path: Path) -> None:
    images, labels = offline_digits()
    write_folder(tmp_path / "pictures", images, labels, {"lonely": 3}, each=pictures)
    with pytest.raises(ValueError, match="lonely needs two pictures"):
        run_page(tmp_path, images, labels, {"one": 1, "two": 2}, each=5)


def test_the_settings_that_the_page_names_are_there() -> None:
    page = PAGE.read_text()
    for name, path in re.findall(r"`([A-Z_]{4,})`[^`]*?`(cvae_utils/[\w/]+\.py)`", page):
        assert re.search(rf"^{name} = ", (PAGE.parent.parent / path).read_text(), re.MULTILINE)
    for name in re.findall(r"`evaluation\.(\w+)`", page):
        assert hasattr(evaluation, name)


# ---------------------------------------------------------------- names beside the rows


def rows_of(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


Rows = Callable[[], list[list[str]]]


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    """Tell the row labels of every grid that was drawn meanwhile."""
    figures: list[Figure] = []
    draw = plotting.digit_grid

    def listen(*words: Any, **more: Any) -> Figure:
        figures.append(draw(*words, **more))
        return figures[-1]

    monkeypatch.setattr(plotting, "digit_grid", listen)
    return lambda: [rows_of(figure) for figure in figures]


def command(line: str, folder: Path) -> list[str]:
    """Return a command of the page as words for `main`, its files being in `folder`."""
    words = line.removeprefix("python -m cvae_utils ").split()
    return [str(folder / w) if w.endswith((".safetensors", ".png")) else w for w in words]


def test_sample_writes_the_classes_of_a_checkpoint_beside_its_rows(run: Run, rows: Rows) -> None:
    line = blocks("sh")[0][1].strip()
    assert main(command(line, run.folder)) == 0
    assert (run.folder / "mine.png").is_file()
    assert rows() == [sorted(run.names)]


@pytest.mark.parametrize(
    ("about", "wanted"),
    [
        ({"name": "mnist"}, list("0123456789")),
        ({"name": "kmnist"}, ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]),
        ({"name": "mnist", "classes": ["cat", "US$ or C$"]}, ["cat", "US$ or C$"]),
        ({}, list("0123456789")),
        ({"name": ["mnist"], "classes": "cat"}, list("0123456789")),  # somebody else's file
        ({"classes": []}, list("0123456789")),
        ({"classes": list("abcdefghijk")}, list("0123456789")),  # more than the model has
        ({"classes": [1, None]}, ["1", "None"]),
    ],
)
def test_rows_are_named_by_what_the_checkpoint_says(
    about: dict[str, Any], wanted: list[str], tmp_path: Path, rows: Rows
) -> None:
    model = models.LabelCVAE(latent_dim=1, width=1)
    path = tmp_path / "some.safetensors"
    checkpoints.save(
        path, model, checkpoints.Provenance(model=model.name, config=model.config, data=about)
    )
    words = ["sample", str(path), "--out", str(tmp_path / "some.png"), "--per-label", "2"]
    assert main(words) == 0
    assert rows() == [wanted]


# ---------------------------------------------------------------- Fashion-MNIST and KMNIST


@pytest.fixture
def known(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put small files in the layout of a known data set where they are looked for.

    Four by four blocks at a place that depends on the class; 200 to learn from and 100 to test.
    """
    name: str = request.param
    original = data.ORIGINALS[name]
    raw = tmp_path / "data" / original.torchvision / "raw"
    labels = np.arange(300, dtype=np.uint8) % 10
    images = np.random.default_rng(0).integers(0, 60, (300, 28, 28), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 8, 4:20] += 150
    checksums = write_archives(raw, images, labels, learn=200)
    small = dataclasses.replace(
        original, packed_md5=tuple(checksums), unpacked_md5=(None,) * 4, mirrors=()
    )
    monkeypatch.setitem(data.ORIGINALS, name, small)
    monkeypatch.setenv(data.ENVIRONMENT_VARIABLE, str(tmp_path / "data"))
    monkeypatch.setattr(data, "default_root", lambda: tmp_path / "none")
    return name


@pytest.mark.parametrize("known", ["fashion-mnist", "kmnist"], indirect=True)
def test_the_pages_commands_train_sample_and_judge(
    known: str, tmp_path: Path, rows: Rows, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvae_utils.evaluation.report.PER_LABEL", 20)  # 1,000 take seconds
    lines = blocks("sh")[1][1].replace("fashion-mnist", known).splitlines()
    extra = {"train": SMALL, "sample": [], "evaluate": ["--importance-samples", "1"]}
    for line in lines:
        words = command(line, tmp_path)
        assert main([*words, *extra[words[0]]]) == 0, capsys.readouterr().err
    assert rows() == [list(data.ORIGINALS[known].classes)]
    said = capsys.readouterr().out
    assert f"{known}: 200 train, 100 test" in said
    assert re.search(r"faithfulness +[01]\.\d{4}", said)
    _, provenance = checkpoints.load(tmp_path / "clothes.safetensors")
    assert provenance.data["name"] == known
    # A judge of other data would read a shoe as a digit.
    shipped = str(checkpoints.folder() / "classifier.safetensors")
    assert main([*command(lines[-1], tmp_path)[:-1], shipped]) == 1
    assert f"trained on mnist, {known} was wanted" in capsys.readouterr().err


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        done = run_page(Path(place), *offline_digits(), DIGITS)
        print("".join(done.printed))
        for picture in done.folder.glob("*.png"):
            shutil.copy(picture, sys.argv[1])
