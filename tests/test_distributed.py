"""Two processes on the CPU against one: the same gradients, the same weights, one file written."""

from __future__ import annotations

import copy
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from cvae_utils import checkpoints, data, masks, objectives
from cvae_utils.distributed import Crew, crew, joined
from cvae_utils.models import CGAN, InpaintingCVAE, LabelCVAE
from cvae_utils.training import History, fit

SIZE = 2
LOOPBACK = "lo" if sys.platform == "linux" else "lo0"  # nobody else shall listen in
Run = tuple[nn.Module, History]
Ends = dict[str, list[dict[str, Any]]]  # of each run, what each process ended with


def plain(split: data.Split) -> Run:
    """Train what draws no noise at all: a network without a code, on grey images, one mask."""
    torch.manual_seed(0)
    model = InpaintingCVAE(latent_dim=0, width=4, hidden=8)
    objective = objectives.inpainting(masks.SOURCES["centre"])
    return model, fit(model, objective, split, epochs=2, batch_size=16, prepare=data.grey)


def noisy(split: data.Split) -> Run:
    """Train for one step, with binarization and codes drawn at random."""
    torch.manual_seed(0)
    model = LabelCVAE(latent_dim=3, width=8)
    settings: dict[str, Any] = {"epochs": 1, "batch_size": len(split)}
    return model, fit(model, objectives.negative_elbo, split, max_learning_rate=1e6, **settings)


def game(split: data.Split) -> Run:
    """Train two networks against each other."""
    torch.manual_seed(0)
    model = CGAN(latent_dim=3, width=4, hidden=8)
    objective = objectives.adversarial(0.1)
    settings: dict[str, Any] = {"prepare": data.grey, "momentum": objectives.GAN_MOMENTUM}
    return model, fit(model, objective, split, epochs=1, batch_size=16, **settings)


RUNS: dict[str, tuple[Callable[[data.Split], Run], int]] = {  # each with its number of digits
    "plain": (plain, 49),  # one is left over, and the last batch has 16
    "noisy": (noisy, 24),
    "game": (game, 48),
}


def member(rank: int, folder: Path, digits: data.Split) -> None:
    """Be one of the processes; leave weights and histories behind."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = LOOPBACK
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=SIZE)
    assert crew() == Crew(rank, SIZE)
    ends = {}
    for name, (run, count) in RUNS.items():
        model, history = run(digits.take(count))
        ends[name] = {"model": model.state_dict(), "epochs": history.epochs}
    torch.save(ends, folder / f"{rank}")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory, digits: data.Split) -> Ends:
    """Train in two processes, one run after the other: to start them takes the longest."""
    folder = tmp_path_factory.mktemp("together")
    context = spawn(member, (folder, digits), nprocs=SIZE, join=False)
    while not context.join():  # each call waits for one of them, and raises what it raised
        pass
    members = [torch.load(folder / str(rank), weights_only=True) for rank in range(SIZE)]
    return {name: [each[name] for each in members] for name in RUNS}


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, weights in left.items():
        torch.testing.assert_close(weights, right[name], atol=1e-5, rtol=1e-4, msg=name)


def test_without_torchrun_everybody_is_alone() -> None:
    assert crew() == Crew(0, 1)
    rows = torch.arange(6)
    assert torch.equal(crew().share(rows), rows)
    assert crew().total(torch.tensor(3.0)) == 3


def test_shares_are_disjoint_and_complete() -> None:
    rows = torch.arange(12)
    shares = [Crew(rank, 3).share(rows) for rank in range(3)]
    assert [len(share) for share in shares] == [4, 4, 4]
    assert sorted(torch.cat(shares).tolist()) == rows.tolist()


def test_two_processes_end_where_one_does(ends: Ends, digits: data.Split) -> None:
    first, second = ends["plain"]
    alone, history = plain(digits.take(48))
    assert_same(first["model"], alone.state_dict())
    assert_same(first["model"], second["model"])
    for row, wanted in zip(first["epochs"], history.epochs, strict=True):
        assert row["loss"] == pytest.approx(wanted["loss"], rel=1e-5)  # the mean over both shares


def test_with_noise_the_gradient_is_the_mean_of_the_shares(ends: Ends, digits: data.Split) -> None:
    split = digits.take(24)
    first, second = ends["noisy"]
    assert_same(first["model"], second["model"])
    # The same by hand, in one process: each share with the noise of its process.
    torch.manual_seed(0)
    model = LabelCVAE(latent_dim=3, width=8)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    before = copy.deepcopy(model.state_dict())
    for rank in range(SIZE):
        chosen = order[rank::SIZE]
        noise = torch.Generator().manual_seed(1_000_003 * (rank + 1))
        x = data.binarize(split.images[chosen], noise)
        terms = objectives.negative_elbo(model, x, split.labels[chosen], noise)
        (terms["loss"].mean() / SIZE).backward()
    # Adam's first step moves each weight by the learning rate, against the gradient's sign. (The
    # only step of a cycle has its lowest rate, a 250,000th of the highest: hence that one.)
    for name, weights in model.named_parameters():
        moved = first["model"][name] - before[name]
        clear = weights.grad.abs() > 1e-5  # type: ignore[union-attr]
        assert clear.any()
        signs = -weights.grad.sign()[clear]  # type: ignore[union-attr]
        assert torch.equal(moved[clear].sign(), signs), name


def test_a_game_is_played_by_two_processes_too(ends: Ends) -> None:
    first, second = ends["game"]
    trained = {name for name, _ in CGAN(latent_dim=3, width=4, hidden=8).named_parameters()}
    for name in trained:
        torch.testing.assert_close(first["model"][name], second["model"][name])
        assert first["model"][name].isfinite().all()
    assert first["epochs"][0]["loss"] == pytest.approx(second["epochs"][0]["loss"])


def test_torchrun_trains_and_only_the_first_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "two.safetensors"
    words = ["train", "vae", "--out", str(path), "--epochs", "1", "--batch-size", "100"]
    words += ["--width", "8", "--latent-dim", "2", "--importance-samples", "0", "--device", "cpu"]
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
            f"--log-dir={tmp_path}", "-m", "cvae_utils", *words,
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": LOOPBACK},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote") == 1
    _, provenance = checkpoints.load(path)
    assert provenance.training["processes"] == 2
    assert provenance.command.startswith("torchrun --nproc-per-node=2 -m cvae_utils train vae ")
    assert provenance.metrics["negative_elbo"] < 784 * math.log(2)  # better than a coin


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvae_utils.training.crew", lambda: Crew(0, 3))
    split = data.Split(torch.zeros(8, 28, 28, dtype=torch.uint8), torch.zeros(8).long())
    with pytest.raises(ValueError, match="batch_size must be a multiple of the 3 processes, got 8"):
        fit(LabelCVAE(2, 4), objectives.negative_elbo, split, epochs=1, batch_size=8)


@pytest.mark.parametrize(
    ("device", "backend"), [("cpu", "gloo"), ("cpu:0", "gloo"), ("auto", "nccl"), ("cuda", "nccl")]
)
def test_processes_talk_through_what_their_device_has(
    device: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = {"TORCHELASTIC_RUN_ID": "none", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}
    for name, value in several.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    taken: list[int | str] = []
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(dist, "init_process_group", taken.append)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    with joined(device):
        pass
    assert taken == [*([1] if backend == "nccl" else []), backend]
    refused = r"^device must be 'cpu', 'cuda' or 'auto' .*, got 'cuda:0': each takes a GPU"
    with pytest.raises(ValueError, match=refused), joined("cuda:0"):
        pass


def test_more_processes_than_gpus_are_told_to_take_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    refused = r"^device must be 'cpu' where .*, got 'auto' for process 2 and 1 GPU\(s\)$"
    with pytest.raises(ValueError, match=refused), joined("auto"):
        pass
