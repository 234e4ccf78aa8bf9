"""What several test files share: a screenless matplotlib, small data, and a readable model."""

from __future__ import annotations

import contextlib
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import pytest
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn

from cvae_utils import checkpoints, data
from cvae_utils.models import Classifier, ConditionalVAE, Gaussian, InpaintingCVAE, LabelCVAE
from tests.reliability import (  # hooks of pytest, which looks for them here
    pytest_addoption as pytest_addoption,
)
from tests.reliability import (
    pytest_collection_modifyitems as pytest_collection_modifyitems,
)
from tests.reliability import (
    pytest_configure as pytest_configure,
)

matplotlib.use("Agg")  # before anything opens a figure: tests run without a screen
torch.set_num_threads(1)  # for small tensors, threads that wait for each other cost the most


class Write(nn.Module):
    """A generation network that writes what it gets into the image: row 0 is z, row 1 is c."""

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        logits = z.new_zeros(len(z), 28, 28)
        logits[:, 0, : z.shape[1]] = z
        logits[:, 1, : c.shape[1]] = c
        return logits


class Prior(nn.Module):
    """A prior that depends on the label: mean = label, standard deviation 1/10."""

    def forward(self, c: Tensor) -> Gaussian:
        mu = c.argmax(1, keepdim=True).expand(-1, 4).to(c.dtype)
        return Gaussian(mu, torch.full_like(mu, 0.1).log() * 2)


class Echo(ConditionalVAE):
    """A model whose images can be read back: `torch.logit` of row 0 gives z, of row 1 c."""

    name = "echo"

    def __init__(self) -> None:
        super().__init__()
        self.latent_dim = 4
        self.config = {}
        self.anchor = nn.Parameter(torch.zeros(1))  # says which device and dtype the model has
        self.prior_net = Prior()
        self.generation_net = Write()

    def condition(self, labels: Tensor) -> Tensor:
        return nn.functional.one_hot(labels, 10).float()


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weights(model: nn.Module) -> Tensor:
    """Return all of a model's numbers in a row."""
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


@contextlib.contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let each write past this size fail in the middle, here and in new processes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def echo() -> ConditionalVAE:
    return Echo()


@pytest.fixture
def cvae() -> LabelCVAE:
    """Random weights, large enough that code and label change every picture."""
    torch.manual_seed(1)
    model = LabelCVAE(latent_dim=4, width=16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


@pytest.fixture
def inpainting() -> InpaintingCVAE:
    """Random weights, large enough that code, image and hole change every picture."""
    torch.manual_seed(1)
    model = InpaintingCVAE(latent_dim=4, width=4, hidden=16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


@pytest.fixture(scope="session")
def digits() -> data.Split:
    """100 real test digits, from whichever source is there without the network."""
    return data.load(download=False).test.take(100)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Make an interrupt raise KeyboardInterrupt, also where a test runner has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def judge() -> Classifier:
    return checkpoints.load_classifier()


@pytest.fixture
def no_litter(tmp_path: Path) -> Iterator[Path]:
    """A folder in which nothing but whole files may be left behind."""
    yield tmp_path
    assert not list(tmp_path.glob(".*"))


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")
