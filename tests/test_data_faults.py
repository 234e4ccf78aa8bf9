"""The data door under attack: damaged files, bad mirrors, full disks, and several at once.

The faults are real: the servers run on this machine and torchvision's own code asks them, the
operating system ends a write in the middle, and refuses a folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import gzip
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import pytest

from cvae_utils import data
from tests import mirrors
from tests.conftest import full_disk
from tests.mirrors import FAULTS, FILES, md5

Record = Callable[[str, object], None]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return mirrors.stand_in(tmp_path / "small", monkeypatch)


@pytest.fixture
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, in which nothing may be left behind."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder not below pytest's, which is closed to all but its owner."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def brought(small: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A download that brings the small files at once; the list is of those that it was asked for.

    torchvision takes ten seconds to be imported: where the fault comes before or after a download
    that goes well, this stands for it.
    """
    raw = small / "MNIST" / "raw"
    good = mirrors.contents(raw)
    asked_for: list[str] = []

    def bring(
        files: Mapping[str, str], mirrors: Sequence[str], staged: Path
    ) -> tuple[bool, list[str]]:
        for filename in files:
            (staged / filename).write_bytes(good[filename])
            asked_for.append(filename)
        return True, []

    monkeypatch.setattr(data, "_run_until_stalled", bring)
    with mirrors.mirror(raw) as there:
        mirrors.use(monkeypatch, there.address)
        yield asked_for


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a mirror that stalls a third or half as long as a reader would."""
    monkeypatch.setattr(data, "PROBE_SECONDS", 1.0)
    monkeypatch.setattr(data, "STALL_SECONDS", 3.0)


@pytest.fixture
def thin_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a process import no more of torchvision than what downloads: the rest takes seconds."""
    spec = importlib.util.find_spec("torchvision")
    assert spec
    assert spec.submodule_search_locations
    real = Path(spec.submodule_search_locations[0])
    for package in ("torchvision", "torchvision/datasets"):
        folder = tmp_path / "thin" / package
        folder.mkdir(parents=True)
        code = f"__path__.append({str(real.parent / package)!r})\n"
        (folder / "__init__.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "thin"))


def know_the_contents(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the checksums of what is in the archives be known too, as MNIST's are."""
    archives = [small / "MNIST" / "raw" / filename for filename in FILES]
    unpacked = tuple(md5(gzip.decompress(archive.read_bytes())) for archive in archives)
    known = dataclasses.replace(data.ORIGINALS["mnist"], unpacked_md5=unpacked)
    monkeypatch.setitem(data.ORIGINALS, "mnist", known)


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Be nobody in particular to the file system, if root, to whom no folder is read-only.

    It holds for this thread; a new process is root again.
    """
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None)
    libc.setfsuid(65534)
    try:
        yield
    finally:
        libc.setfsuid(0)


# ---------------------------------------------------------------- files that are found


def damaged(archive: bytes, damage: str) -> bytes:
    content = gzip.decompress(archive)
    match damage:
        case "empty":
            return b""
        case "truncated":
            return archive[:-100]
        case "a bit flipped":
            return archive[:200] + bytes([archive[200] ^ 1]) + archive[201:]
        case "wrong magic number":
            return gzip.compress(b"\x00\x00\x08\x01" + content[4:])
        case "wrong count":
            return gzip.compress(content[:4] + b"\x00\x00\x00\xff" + content[8:])
        case "an HTML page":
            return b"<html><body>403 Forbidden</body></html>"
        case _:
            return archive + archive  # another archive follows


@pytest.mark.reliability(
    "data",
    "a file in the data folder, or in that of CVAE_DATA, is empty, truncated, has a flipped bit, a "
    "wrong magic number or count, is an HTML page or twice itself",
    "an error that names the file, both checksums and the mend; nothing is touched",
)
@pytest.mark.parametrize("folder", ["data", "CVAE_DATA"])
@pytest.mark.parametrize(
    "damage",
    [
        "empty",
        "truncated",
        "a bit flipped",
        "wrong magic number",
        "wrong count",
        "an HTML page",
        "twice",
    ],
)
def test_a_damaged_file_is_named_and_left_alone(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, damage: str
) -> None:
    know_the_contents(small, monkeypatch)
    path = small / "MNIST" / "raw" / FILES[2]
    right = path.read_bytes()
    path.write_bytes(damaged(right, damage))
    before = mirrors.contents(path.parent)
    root = small
    if folder == "CVAE_DATA":
        root = tmp_path / "root"
        monkeypatch.setenv(data.ENVIRONMENT_VARIABLE, str(small))
    with pytest.raises(data.DataFileError, match="Delete this one file") as caught:
        data.load(root=root)
    for part in (str(path), md5(right), md5(before[path.name]), "Put the original in its place"):
        assert part in str(caught.value)
    assert mirrors.contents(path.parent) == before


@pytest.mark.reliability(
    "data",
    "one bit flipped, at 200 places of the four files and at each of an archive's header",
    "refused by name; or, where what is in the archive is the same all the same, read as before",
)
def test_no_flipped_bit_changes_what_is_read(
    small: Path, monkeypatch: pytest.MonkeyPatch, record_property: Record
) -> None:
    know_the_contents(small, monkeypatch)
    raw = small / "MNIST" / "raw"
    right = mirrors.contents(raw)
    fingerprint = data.load(root=small, download=False).fingerprint
    bits = [(FILES[0], bit) for bit in range(8 * 10)]  # of the header, which is 10 bytes long
    places = random.Random(0)  # noqa: S311
    for _ in range(200):
        filename = places.choice(FILES)
        bits.append((filename, places.randrange(8 * len(right[filename]))))
    passed = set()
    for filename, bit in bits:
        wrong = bytearray(right[filename])
        wrong[bit // 8] ^= 1 << bit % 8
        (raw / filename).write_bytes(wrong)
        try:
            read = data.load(root=small, download=False).fingerprint
        except data.DataFileError as error:
            named = str(error).split()[0]
        else:
            assert read == fingerprint
            passed.add((filename, bit))
            named = str(raw / filename)
        assert named == str(raw / filename)
        (raw / filename).write_bytes(right[filename])
    # Bytes 4 to 9 say when, how hard, and on which system it was packed.
    assert {(FILES[0], bit) for bit in range(8 * 4, 8 * 10)} <= passed
    assert len(passed) < 80
    record_property("cases", len(bits))


@pytest.mark.reliability(
    "data", "a file cut off, at 100 lengths from nothing to all but one byte", "refused by name"
)
def test_no_part_of_a_file_passes_for_the_whole(
    small: Path, monkeypatch: pytest.MonkeyPatch, record_property: Record
) -> None:
    know_the_contents(small, monkeypatch)
    path = small / "MNIST" / "raw" / FILES[0]
    right = path.read_bytes()
    lengths = [len(right) - 1, *(len(right) * share // 99 for share in range(99))]
    for length in lengths:
        path.write_bytes(right[:length])
        with pytest.raises(data.DataFileError, match=f"{path}.*{length:,} bytes"):
            data.load(root=small, download=False)
    record_property("cases", len(lengths))


@pytest.mark.reliability(
    "data",
    "an archive of 1 MB that unpacks to 1 GB",
    "refused, with no more memory taken than for MNIST itself",
)
def test_an_archive_cannot_fill_the_memory(small: Path) -> None:
    path = small / "MNIST" / "raw" / FILES[0]
    path.write_bytes(gzip.compress(bytes(2**26)) * 16)
    tracemalloc.start()
    try:
        with pytest.raises(data.DataFileError, match="damaged or not the original"):
            data.load(root=small, download=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * data.LARGEST_BYTES


@pytest.mark.reliability(
    "data",
    "a damaged file while another one is missing",
    "refused by name all the same: it is not quietly overwritten, and no mirror is asked",
)
def test_a_damaged_file_is_not_overwritten_by_a_download(small: Path, brought: list[str]) -> None:
    raw = small / "MNIST" / "raw"
    (raw / FILES[0]).unlink()
    (raw / FILES[3]).write_bytes(b"my own notes")
    with pytest.raises(data.DataFileError, match=FILES[3]):
        data.load(root=small)
    assert (raw / FILES[3]).read_bytes() == b"my own notes"
    assert not brought


@pytest.mark.reliability(
    "data",
    "the mend that the error names is followed: the damaged file is deleted, in the data folder or "
    "in that of CVAE_DATA; another file there is packed in another way",
    "only what the data folder lacks is fetched, every other file stays as it is",
)
@pytest.mark.parametrize("folder", ["data", "CVAE_DATA"])
def test_the_mend_that_the_error_names_is_true(
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    brought: list[str],
    folder: str,
) -> None:
    know_the_contents(small, monkeypatch)
    theirs = tmp_path / "theirs" / "MNIST" / "raw"
    shutil.copytree(small / "MNIST" / "raw", theirs)
    repacked = gzip.compress(gzip.decompress((theirs / FILES[1]).read_bytes()), 1, mtime=1)
    (theirs / FILES[1]).write_bytes(repacked)
    (theirs / FILES[0]).write_bytes(b"damaged")
    root = tmp_path / "theirs"
    if folder == "CVAE_DATA":
        root = tmp_path / "root"
        monkeypatch.setenv(data.ENVIRONMENT_VARIABLE, str(tmp_path / "theirs"))
    with pytest.raises(data.DataFileError, match=FILES[0]):
        data.load(root=root)
    (theirs / FILES[0]).unlink()
    others = mirrors.contents(theirs)
    mnist = data.load(root=root)
    assert set(brought) == set(FILES[:1] if folder == "data" else FILES)
    if folder == "data":
        others[FILES[0]] = (small / "MNIST" / "raw" / FILES[0]).read_bytes()
    assert mirrors.contents(theirs) == others
    assert mnist.fingerprint == data.load(root=root, download=False).fingerprint
    assert mnist.fingerprint == data.load(root=small, download=False).fingerprint


# ---------------------------------------------------------------- mirrors


@pytest.mark.usefixtures("impatient")
@pytest.mark.reliability(
    "data",
    "every mirror but the last one is bad: refuses; sends a web page, a truncated archive or half "
    "of one; sends nothing or stops in the middle, with the line open; trickles; has one file only",
    "the next mirror is asked, only for what is still missing; whole files, no hang",
)
def test_a_bad_mirror_leads_to_the_next(
    small: Path,
    tmp_path: Path,
    staging: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Record,
) -> None:
    """Those who send nothing cost 1 s each, the one that trickles 3, torchvision's imports more."""
    raw = small / "MNIST" / "raw"
    faults = [fault for fault in FAULTS if fault not in ("silent", "babbling")]  # never asked
    with contextlib.ExitStack() as stack:
        bad = {fault: stack.enter_context(mirrors.mirror(raw, fault)) for fault in faults}
        good = stack.enter_context(mirrors.mirror(raw, hesitates=0.5))
        mirrors.use(monkeypatch, *(each.address for each in bad.values()), good.address)
        mnist = data.load(root=tmp_path / "root")
        waited = time.monotonic() - min(each.asked[0] for each in bad.values())
    assert mnist.source == "downloaded by torchvision"
    assert mnist.fingerprint == data.load(root=small, download=False).fingerprint
    # The next call needs no network, and nothing but the four files was left behind.
    again = data.load(root=tmp_path / "root", download=False)
    assert again.fingerprint == mnist.fingerprint
    assert mirrors.contents(tmp_path / "root" / "MNIST" / "raw") == mirrors.contents(raw)
    for fault in faults:
        assert set(bad[fault].fetched) == set(FILES[: 2 if fault == "only one" else 1]), fault
    assert set(good.fetched) == set(FILES[1:])
    assert not bad["trickle"].endured
    assert waited < data.IMPORT_SECONDS
    assert not list(staging.iterdir())
    record_property("cases", len(faults))


@pytest.mark.usefixtures("impatient", "thin_torchvision")
@pytest.mark.reliability(
    "data",
    "no mirror helps: one refuses, one sends a web page, two would stall for ever, and while the "
    "last one sends, the disk is full",
    "the offline digits, without a hang, and one line that says what was wrong with each",
)
def test_when_no_mirror_helps_each_is_named_with_its_reason(
    small: Path,
    tmp_path: Path,
    staging: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    record_property: Record,
) -> None:
    """One second for each that stalls, counted from the first question: no import is in it."""
    raw = small / "MNIST" / "raw"
    reasons = {
        "403": "HTTP Error 403",
        "page": "not found or corrupted",
        "mute": "timed out",
        "half": "timed out",
        "": "File too large",
    }
    assert (raw / FILES[0]).stat().st_size > 4000  # half a file fits, a whole one does not
    with contextlib.ExitStack() as stack:
        bad = {fault: stack.enter_context(mirrors.mirror(raw, fault)) for fault in reasons}
        mirrors.use(monkeypatch, *(each.address for each in bad.values()))
        with full_disk(4000):
            mnist = data.load(root=tmp_path / "root")
        waited = time.monotonic() - min(each.asked[0] for each in bad.values())
    assert not mnist.complete
    *_, line = capsys.readouterr().err.strip().splitlines()
    for fault, reason in reasons.items():
        host = bad[fault].address.removeprefix("http://").removesuffix("/")
        assert reason in line.split(f"{host}: ")[1].split(";")[0], fault
    assert waited < 60  # those that stall would do so for ever
    assert not (tmp_path / "root").exists()
    assert not list(staging.iterdir())
    record_property("cases", len(reasons))


@pytest.mark.reliability(
    "data",
    "a download that grows, but too slowly; and one that is quick enough",
    "the slow one is given up, the other one may take its time",
)
@pytest.mark.parametrize(("kilobytes", "stalls"), [(1, True), (500, False)])
def test_a_slow_download_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kilobytes: int, stalls: bool
) -> None:
    """Both take three seconds, longer than the patience that is set here."""
    monkeypatch.setattr(data, "STALL_SECONDS", 2.0)
    code = (
        f"import time\nwith open({str(tmp_path / 'file')!r}, 'ab', buffering=0) as file:\n"
        f"    for _ in range(25):\n        file.write(bytes({1024 * kilobytes}))\n"
        "        time.sleep(0.12)"
    )
    with subprocess.Popen([sys.executable, "-S", "-c", code], text=True) as process:
        assert data._stalls(process, ["ready"], tmp_path) == (1 if stalls else None)
        process.kill()


@pytest.mark.usefixtures("thin_torchvision")
@pytest.mark.reliability(
    "data",
    "the machine is so busy that a mirror which stalls fails by itself before it is given up",
    "the next mirror is asked all the same; after the last one, each has one reason",
)
@pytest.mark.parametrize("helps", [True, False])
def test_a_late_verdict_falls_on_nobody_else(
    small: Path,
    tmp_path: Path,
    staging: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    helps: bool,
) -> None:
    monkeypatch.setattr(data, "PROBE_SECONDS", 1.0)
    monkeypatch.setattr(data, "STALL_SECONDS", 0.5)  # sooner than torchvision loses patience
    verdict = data._stalls

    def late(process: subprocess.Popen[str], said: Sequence[str], staged: Path) -> int | None:
        heard = verdict(process, said, staged)
        deadline = time.monotonic() + 30
        while heard == len(said) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return heard

    monkeypatch.setattr(data, "_stalls", late)
    raw = small / "MNIST" / "raw"
    with mirrors.mirror(raw, "mute") as mute, mirrors.mirror(raw, hesitates=0.5) as good:
        mirrors.use(monkeypatch, mute.address, *([good.address] if helps else []))
        mnist = data.load(root=tmp_path / "root")
    if helps:
        assert mnist.source == "downloaded by torchvision"
    else:
        assert not mnist.complete
        host = mute.address.removeprefix("http://").removesuffix("/")
        *_, line = capsys.readouterr().err.strip().splitlines()
        assert line.count(host) == 1
        assert "timed out" in line.split(f"{host}: ")[1]
    assert not list(staging.iterdir())


@pytest.mark.reliability(
    "data",
    "torchvision is broken: its import fails, ends the process, or never ends",
    "the reason is told, the offline digits stand in",
)
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('operator nms does not exist')", "operator nms does not exist"),
        ("import os; os.abort()", "status -6"),
        ("import time; time.sleep(60)", "not imported within 1 s"),
    ],
    ids=["fails", "aborts", "hangs"],
)
def test_a_broken_torchvision(
    small: Path,
    tmp_path: Path,
    staging: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: str,
    reason: str,
) -> None:
    broken = tmp_path / "broken" / "torchvision"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    if "sleep" in code:
        monkeypatch.setattr(data, "IMPORT_SECONDS", 1.0)
    with mirrors.mirror(small / "MNIST" / "raw") as good:
        mirrors.use(monkeypatch, good.address)
        start = time.monotonic()
        mnist = data.load(root=tmp_path / "root")
        assert time.monotonic() - start < 40
    assert not mnist.complete
    assert reason in capsys.readouterr().err
    assert not good.fetched
    assert not list(staging.iterdir())


@pytest.mark.reliability(
    "data",
    "torchvision ends its process in the middle of a download, with each mirror",
    "the next mirror is asked, each has its reason, the offline digits stand in; no hang",
)
def test_a_torchvision_that_dies_of_a_file(
    small: Path,
    tmp_path: Path,
    staging: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = tmp_path / "broken" / "torchvision"
    (broken / "datasets").mkdir(parents=True)
    for package in (broken, broken / "datasets"):
        (package / "__init__.py").touch()
    (broken / "datasets" / "utils.py").write_text(
        "import os\ndef download_url(*words):\n    os.abort()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    begun, run = 0, data._run_until_stalled

    def counted(*words: object) -> tuple[bool, list[str]]:
        nonlocal begun
        begun += 1
        assert begun <= 2  # or it would go on for ever
        return run(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(data, "_run_until_stalled", counted)
    with mirrors.mirror(small) as first, mirrors.mirror(small) as second:
        mirrors.use(monkeypatch, first.address, second.address)
        mnist = data.load(root=tmp_path / "root")
    assert not mnist.complete
    *_, line = capsys.readouterr().err.strip().splitlines()
    assert line.count("the download's process ended with status -6") == begun == 2
    assert not list(staging.iterdir())


def test_the_download_begins_with_the_mirror_that_answers_first(small: Path) -> None:
    raw = small / "MNIST" / "raw"
    with contextlib.ExitStack() as stack:
        slow = stack.enter_context(mirrors.mirror(raw, hesitates=1)).address
        quick = stack.enter_context(mirrors.mirror(raw)).address
        silent = stack.enter_context(mirrors.mirror(raw, "silent")).address
        start = time.monotonic()
        assert data._living_first([silent, slow, mirrors.NOBODY, quick]) == [
            quick,
            silent,
            slow,
            mirrors.NOBODY,
        ]
        assert time.monotonic() - start < data.PROBE_SECONDS  # nobody waited for the silent one


# ---------------------------------------------------------------- disks and folders


@pytest.mark.reliability(
    "data",
    "there is no folder for temporary files, or it is read-only",
    "the reason is told, the offline digits stand in",
)
@pytest.mark.parametrize("fault", ["missing", "read-only"])
def test_no_place_to_download_to(
    open_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    brought: list[str],
    fault: str,
) -> None:
    if fault == "read-only":
        (open_folder / "temporary").mkdir(mode=0o555)
    monkeypatch.setattr(tempfile, "tempdir", str(open_folder / "temporary"))
    with nobody() if fault == "read-only" else contextlib.nullcontext():
        mnist = data.load(root=open_folder / "root")
    assert not mnist.complete
    reason = {"missing": "No such file", "read-only": "Permission denied"}[fault]
    assert reason in capsys.readouterr().err
    assert not brought
    assert not (open_folder / "root").exists()


@pytest.mark.reliability(
    "data",
    "the disk is full while a good file is put into the data folder: at the first file, and when "
    "the small ones fitted",
    "the data is used all the same, a line says that it cannot be kept; no half file",
)
@pytest.mark.parametrize("room", [10, 1000])
def test_a_full_disk_while_keeping(
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    brought: list[str],
    room: int,
) -> None:
    good = mirrors.contents(small / "MNIST" / "raw")
    root = tmp_path / "root"
    raw = root / "MNIST" / "raw"
    if room > 10:  # the first file is there: one more fits, and the next one does not
        raw.mkdir(parents=True)
        shutil.copy(small / "MNIST" / "raw" / FILES[0], raw)
    limit = contextlib.ExitStack()
    bring = data._run_until_stalled

    def bring_then_fill(*words: object) -> tuple[bool, list[str]]:
        outcome = bring(*words)  # type: ignore[arg-type]
        limit.enter_context(full_disk(room))
        return outcome

    monkeypatch.setattr(data, "_run_until_stalled", bring_then_fill)
    with limit:
        mnist = data.load(root=root)
    assert mnist.fingerprint == data.load(root=small).fingerprint
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("NOTE: ")
    assert all(part in line for part in (str(raw), "File too large", "again next time"))
    kept = FILES[:2] if room > 10 else ()
    assert mirrors.contents(raw) == {filename: good[filename] for filename in kept}
    # When there is room again, what is missing comes.
    monkeypatch.setattr(data, "_run_until_stalled", bring)
    data.load(root=root)
    assert mirrors.contents(raw) == good


@pytest.mark.reliability(
    "data",
    "the data folder is read-only",
    "the data is used all the same, a line says that it cannot be kept, and where",
)
def test_a_read_only_folder(
    small: Path, open_folder: Path, brought: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    root = open_folder / "root"
    root.mkdir(mode=0o555)
    with nobody():
        mnist = data.load(root=root)
    assert brought
    assert not list(root.iterdir())
    assert mnist.fingerprint == data.load(root=small).fingerprint
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("NOTE: ")
    assert all(part in line for part in (str(root), "Permission denied", "again next time"))


# ---------------------------------------------------------------- several at once


@contextlib.contextmanager
def only_whole_files(raw: Path, good: Mapping[str, bytes]) -> Iterator[list[str]]:
    """Look into a folder all the while; yield the list of the files that were not whole."""
    seen: list[str] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.001):
            for filename in FILES:
                with contextlib.suppress(FileNotFoundError):
                    if (raw / filename).read_bytes() != good[filename]:
                        seen.append(filename)

    watch = threading.Thread(target=look)
    watch.start()
    try:
        yield seen
    finally:
        ended.set()
        watch.join()


LOAD = """
import dataclasses, json, shutil, sys
from pathlib import Path
from cvae_utils import data

good, mirror, checksums, roots = json.loads(sys.argv[1])
data.ORIGINALS["mnist"] = dataclasses.replace(
    data.ORIGINALS["mnist"],
    mirrors=(mirror,),
    packed_md5=tuple(checksums),
    unpacked_md5=(None,) * 4,
)

def bring(files, mirrors, staged):
    for filename in files:
        shutil.copy(Path(good, filename), staged)
    return True, []

data._run_until_stalled = bring
for root in roots:
    print("here", flush=True)
    sys.stdin.readline()
    print(data.load(root=Path(root)).fingerprint, flush=True)
"""


@contextlib.contextmanager
def loader(job: str, staging: Path) -> Iterator[tuple[IO[str], IO[str]]]:
    """Start a process that loads as `job` says; yield what it is told by, and what it answers."""
    with subprocess.Popen(
        [sys.executable, "-c", LOAD, job],
        env=os.environ | {"TMPDIR": str(staging)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield process.stdin, process.stdout
        finally:
            process.kill()


@pytest.mark.reliability(
    "data",
    "two processes fill one data folder at the same time, 20 folders",
    "both get the data; at no moment is there half a file, and nothing is left behind",
)
def test_two_processes_at_once(
    small: Path, tmp_path: Path, staging: Path, brought: list[str], record_property: Record
) -> None:
    raw = small / "MNIST" / "raw"
    wanted = data.load(root=small).fingerprint
    known = data.ORIGINALS["mnist"]
    roots = [tmp_path / str(number) for number in range(20)]
    job = json.dumps([str(raw), *known.mirrors, known.packed_md5, [str(root) for root in roots]])
    with contextlib.ExitStack() as stack:
        loaders = [stack.enter_context(loader(job, staging)) for _ in range(2)]
        for root in roots:
            with only_whole_files(root / "MNIST" / "raw", mirrors.contents(raw)) as halves:
                assert [next(told) for _, told in loaders] == ["here\n"] * 2
                for go, _ in loaders:
                    print(file=go, flush=True)
                assert [next(told) for _, told in loaders] == [f"{wanted}\n"] * 2
            assert not halves
            assert mirrors.contents(root / "MNIST" / "raw") == mirrors.contents(raw)
    assert not list(staging.iterdir())
    record_property("cases", len(roots))


@pytest.mark.reliability(
    "data",
    "eight threads fill one data folder at the same time, 20 folders",
    "all get the data; at no moment is there half a file, and nothing is left behind",
)
def test_eight_threads_at_once(
    small: Path, tmp_path: Path, staging: Path, brought: list[str], record_property: Record
) -> None:
    good = mirrors.contents(small / "MNIST" / "raw")
    wanted = data.load(root=small).fingerprint
    roots = [tmp_path / str(number) for number in range(20)]
    for root in roots:
        start = threading.Barrier(8)

        def load(root: Path, start: threading.Barrier) -> str:
            start.wait()
            return data.load(root=root).fingerprint

        with (
            only_whole_files(root / "MNIST" / "raw", good) as halves,
            ThreadPoolExecutor(8) as pool,
        ):
            loads = [pool.submit(load, root, start) for _ in range(8)]
        assert [each.result() for each in loads] == [wanted] * 8
        assert not halves
        assert mirrors.contents(root / "MNIST" / "raw") == good
    assert len(brought) > 4 * len(roots)  # neither waited for the other
    assert not list(staging.iterdir())
    record_property("cases", len(roots))


# ---------------------------------------------------------------- interrupted


@pytest.mark.reliability(
    "data",
    "the reader interrupts the download in the middle of a file (Ctrl-C, the stop button)",
    "it ends at once, and takes its process and its files along",
)
@pytest.mark.usefixtures("ctrl_c", "thin_torchvision")
def test_an_interrupted_download_leaves_nothing_behind(
    small: Path, tmp_path: Path, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[str]] = []
    begun: list[Path] = []
    over = threading.Event()

    class Popen(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *words: object, **more: object) -> None:
            super().__init__(*words, **more)  # type: ignore[call-overload]
            started.append(self)

    def press_when_a_file_has_begun() -> None:
        while not over.wait(0.01):
            begun.extend(staging.rglob(FILES[0]))
            if begun:
                signal.raise_signal(signal.SIGINT)
                return

    monkeypatch.setattr(subprocess, "Popen", Popen)
    finger = threading.Thread(target=press_when_a_file_has_begun)
    with mirrors.mirror(small / "MNIST" / "raw", "half") as half:
        mirrors.use(monkeypatch, half.address)
        finger.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                data.load(root=tmp_path / "root")
        finally:
            over.set()
            finger.join()
    assert begun
    assert set(half.fetched) == {FILES[0]}
    assert [process.returncode for process in started] == [-signal.SIGKILL]  # and waited for
    assert not (tmp_path / "root").exists()
    assert not list(staging.iterdir())
