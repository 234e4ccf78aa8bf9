"""The benchmarks run, on a few digits, and compare what they say they compare."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import epoch, growth
from cvae_utils import data, models

DIGITS = 640  # five batches, all of them full


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> data.Dataset:
    """The few digits that a benchmark measures here."""
    mnist = data.load(download=False)
    less = dataclasses.replace(mnist, train=mnist.train.take(DIGITS), test=mnist.test.take(100))
    monkeypatch.setattr(data, "load", lambda **_: less)
    return less


def products(work: Callable[[], None]) -> int:
    """Return how many multiplications and additions a call spends on matrix products."""
    with FlopCounterMode(display=False) as counted:
        work()
    operations: int = counted.get_total_flops()
    return operations


def test_all_loops_train_the_same_and_the_floor_is_its_matrix_products(
    few: data.Dataset, tmp_path: Path
) -> None:
    usual = epoch.as_torchvision(few.train, tmp_path)
    ours = products(lambda: epoch.our_epoch(models.LabelCVAE(), few.train, 128))
    for transform in (epoch.TO_TENSOR, epoch.TO_IMAGE_TO_DTYPE):
        assert products(functools.partial(epoch.usual_epoch, usual, transform, 128)) == ours
    assert products(lambda: epoch.floor_epoch(DIGITS, 128)) == ours


@pytest.mark.parametrize(
    ("module", "options", "rows"),
    [
        ("epoch", "--rounds 1", r"^(ours|ToTensor|v2|matrix).* \d+\.\d\d x ours$"),
        ("switches", "--rounds 1 --device cpu", r"^label_cvae .*float32.* nats"),
        ("peers", "--rounds 1 --chart CHART", r"^.+ \d+\.\d\d s .* x ours"),
    ],
)
def test_a_benchmark_prints_what_it_measured(
    few: data.Dataset,
    module: str,
    options: str,
    rows: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if module == "peers":
        pytest.importorskip("lightning")
        pytest.importorskip("pyro")
    words = options.replace("CHART", str(tmp_path / "chart.png")).split()
    monkeypatch.setattr(sys, "argv", [module, *words])
    importlib.import_module(f"benchmarks.{module}").main()
    printed = capsys.readouterr().out
    assert f"{DIGITS:,} digits" in printed
    assert re.search(rows, printed, flags=re.MULTILINE), printed


@pytest.mark.parametrize(
    "module", ["epoch", "growth", "import_time", "page", "peers", "switches", "widgets"]
)
def test_a_benchmark_says_in_lines_what_it_measures_and_what_its_options_are(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if module == "peers":
        pytest.importorskip("lightning")
        pytest.importorskip("pyro")
    benchmark = importlib.import_module(f"benchmarks.{module}")
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit):
        benchmark.main()
    shown = capsys.readouterr().out
    assert str(benchmark.__doc__).strip() in shown
    options = shown.partition("options:")[2]
    without = r"^ +--[\w-]+( [A-Z_]+)?$(?!\n {20,}\w)"  # on neither this line nor the next
    assert not re.search(without, options, flags=re.MULTILINE), options


def test_growth_measures_one_setting_in_a_process_of_its_own(
    few: data.Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    setting = dataclasses.asdict(growth.Setting(digits=DIGITS))
    monkeypatch.setattr(sys, "argv", ["growth", "--rounds", "1", "--one", json.dumps(setting)])
    growth.main()
    point = json.loads(capsys.readouterr().out)
    assert point["seconds"] > 0
    assert point["megabytes"] > 100  # torch alone takes more
