"""Steps recorded as CUDA graphs: on a GPU, and as far as a machine without one can tell."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from cvae_utils import data, graphs, masks, models, objectives, training
from cvae_utils.snapshots import Parts

Objective = Callable[..., dict[str, Tensor]]

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")


TRAINED: dict[str, tuple[Callable[[], nn.Module], Objective, training.Preparation]] = {
    "vae": (models.VAE, objectives.negative_elbo, data.binarize),
    "label_cvae": (models.LabelCVAE, objectives.negative_elbo, data.binarize),
    "conv_cvae": (models.ConvCVAE, objectives.negative_elbo, data.binarize),
    "inpainting_cvae": (
        models.InpaintingCVAE,
        objectives.inpainting(masks.always(masks.centre())),
        data.nudge,
    ),
    "cgan": (models.CGAN, objectives.adversarial(), data.grey),
    "classifier": (models.Classifier, objectives.cross_entropy, data.jitter),
}
EACH = pytest.mark.parametrize("name", TRAINED)


def onto_a_fake_gpu(model: nn.Module) -> nn.Module:
    """Give a model weights that have shape, dtype and device, and no values. Within the mode."""
    for module in model.modules():
        both: list[dict[str, Any]] = [module._parameters, module._buffers]
        for named in both:
            for name, old in named.items():
                if old is not None:
                    new = torch.empty_strided(
                        old.shape, old.stride(), dtype=old.dtype, device="cuda"
                    )
                    named[name] = nn.Parameter(new) if isinstance(old, nn.Parameter) else new
    return model


@EACH
def test_what_a_step_computes_stays_on_the_gpu_and_is_not_read_back(name: str) -> None:
    """A graph records no Python: a value that is read decides once and for all."""
    make, objective, prepare = TRAINED[name]
    if name == "inpainting_cvae":  # `always` asks the generator where it is
        objective = objectives.inpainting(
            lambda batch, _: torch.empty(batch, 28, 28, dtype=torch.bool, device="cuda")
        )
    model = make().train()
    with FakeTensorMode():
        onto_a_fake_gpu(model)
        images = torch.empty(128, 28, 28, dtype=torch.uint8, device="cuda")
        labels = torch.empty(128, dtype=torch.int64, device="cuda")
        # None is torch's own generator: one for a GPU that is not there cannot be made.
        terms = objective(model, prepare(images, None), labels, None)  # type: ignore[arg-type]
    for term in terms.values():
        assert term.device.type == "cuda"
        assert term.shape == (128,)


def test_the_fake_gpu_notices_what_is_read_back_and_what_lies_elsewhere() -> None:
    with FakeTensorMode():
        x = torch.empty(3, device="cuda")
        with pytest.raises(DataDependentOutputException):
            bool((x > 0).all())
        with pytest.raises(RuntimeError, match="cpu"):
            x + torch.empty(3)


class Again:
    """What a CUDA graph does, by calling again: the same tensors in, into the same tensors out."""

    def __init__(self, model: nn.Module, work: graphs.Work) -> None:
        self.model, self.work = model, work
        self.recording = False

    def noted(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        results = self.work(images, labels)
        if self.recording:
            self.inputs, self.results, self.left = (images, labels), results, self.gradients()
        return results

    def gradients(self) -> list[Tensor | None]:
        return [weights.grad for weights in self.model.parameters()]

    def register_generator_state(self, generator: torch.Generator) -> None:
        """Nothing to do on a CPU."""

    @contextlib.contextmanager
    def record(self, graph: Again) -> Any:
        self.recording = True
        yield
        self.recording = False

    def replay(self) -> None:
        before = self.gradients()
        for name, value in self.work(*self.inputs).items():
            self.results[name].copy_(value)
        for place, gradient in zip(self.left, self.gradients(), strict=True):
            assert place is not None
            assert gradient is not None
            place.copy_(gradient)
        for weights, gradient in zip(self.model.parameters(), before, strict=True):
            weights.grad = gradient


def test_replayed_steps_are_the_steps_themselves(
    digits: data.Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the recording itself: batches handed over, odd ones, gradients, what is put back."""
    ends = []
    for replays in (False, True):
        torch.manual_seed(0)
        model = models.CGAN(latent_dim=2, width=4, hidden=8).train()  # has batch norm's buffers too
        noise = torch.Generator().manual_seed(1)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, fused=True)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=6)
        game = objectives.adversarial(penalty=0.1)

        def work(
            images: Tensor,
            labels: Tensor,
            model: models.CGAN = model,
            noise: torch.Generator = noise,
            optimizer: torch.optim.Optimizer = optimizer,
            game: Objective = game,
        ) -> dict[str, Tensor]:
            terms = game(model, data.grey(images, noise), labels, noise)
            optimizer.zero_grad()
            terms["loss"].mean().backward()
            return {name: values.detach().sum() for name, values in terms.items()}

        step: graphs.Work = work
        if replays:
            again = Again(model, work)
            for name, stand_in in {
                "Stream": lambda: Stream(), "current_stream": lambda: Stream(),
                "stream": lambda aside: contextlib.nullcontext(),
                "device": lambda device: contextlib.nullcontext(),
                "CUDAGraph": lambda again=again: again, "graph": again.record,
            }.items():  # fmt: skip
                monkeypatch.setattr(torch.cuda, name, stand_in)
            parts = Parts(model, optimizer, scheduler, {"order": noise, "noise": noise})
            first = digits.images[:30], digits.labels[:30]
            step = graphs.recorded(again.noted, *first, parts)
        sums = []
        for rows in digits_in_batches(digits):
            terms = step(*rows)
            optimizer.step()
            scheduler.step()
            sums.append({name: value.item() for name, value in terms.items()})
        ends.append((sums, model.state_dict()))
    (plain, weights), (replayed, others) = ends
    assert plain == replayed
    for name, value in weights.items():
        assert torch.equal(value, others[name]), name


class Stream:
    """Stands where a CUDA stream would."""

    def wait_stream(self, other: object) -> None:
        """Everything has been waited for."""


def digits_in_batches(digits: data.Split) -> list[tuple[Tensor, Tensor]]:
    """Four batches of thirty, one of ten among them."""
    pieces = digits.images.split(30), digits.labels.split(30)
    batches = list(zip(*pieces, strict=True))
    return [*batches, *batches[:2]]


@needs_gpu
@EACH
def test_a_gpu_learns_the_same_with_a_graph_and_without(digits: data.Split, name: str) -> None:
    make, objective, prepare = TRAINED[name]
    runs = []
    for cuda_graph in (False, True):
        torch.manual_seed(0)
        model = make().to("cuda")
        settings: dict[str, Any] = {"epochs": 2, "batch_size": 30, "prepare": prepare}
        history = training.fit(model, objective, digits, cuda_graph=cuda_graph, **settings)
        runs.append((history.curve("loss"), model.state_dict()))
    (plain, weights), (replayed, others) = runs
    assert replayed == pytest.approx(plain, rel=1e-3)
    for key, value in weights.items():
        torch.testing.assert_close(others[key], value, rtol=1e-2, atol=1e-3)
