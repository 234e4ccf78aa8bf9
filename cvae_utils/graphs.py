"""A training step that a GPU records once and replays: one launch in place of a hundred."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cvae_utils.snapshots import Parts

Work = Callable[[Tensor, Tensor], dict[str, Tensor]]  # images and labels in, named results out

WARM_UPS = 3  # libraries choose their algorithms in the first calls; no record should hold that


def check_recordable(name: str, device: torch.device, processes: int) -> None:
    """Raise a ValueError, with the switch's name, unless one process trains on a GPU."""
    if device.type != "cuda" or processes > 1:
        raise ValueError(
            f"{name} must be left out but for one process on a GPU, got True for {processes} on "
            f"{device}"
        )


def recorded(work: Work, images: Tensor, labels: Tensor, parts: Parts) -> Work:
    """Record work on batches of one shape as a CUDA graph, and return what replays it.

    A small network's step is over sooner on a GPU than Python can ask for its hundred kernels; a
    graph asks for all of them at once (Nguyen et al. 2021, Accelerating PyTorch with CUDA Graphs).
    It knows addresses and not names: it reads its batch where the first one lay, and leaves
    gradients and results where the first ones were left. So results hold until the next call, and a
    batch of another shape, the last of an epoch say, is worked on as if there were no graph.

    Args:
        work: leaves gradients in the model's weights. It must not read a value back, and may draw
            from the run's generators alone.
        images: a batch, on a CUDA device.
        labels: its labels.
        parts: of the run; they are where they were when this returns.
    """
    before, held = parts.take(0), (images.clone(), labels.clone())
    with torch.cuda.device(images.device):
        aside = torch.cuda.Stream()  # torch wants the first calls away from the usual stream
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                work(*held)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Torch registers its own sources itself.
        for generator in set(parts.generators.values()) - {*torch.cuda.default_generators}:
            graph.register_generator_state(generator)  # each replay draws on, as a call would
        with torch.cuda.graph(graph):
            results = work(*held)
    gradients = [(weights, weights.grad) for weights in parts.model.parameters()]
    parts.restore(before)

    def replayed(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        if images.shape != held[0].shape:
            return work(images, labels)
        for place, fresh in zip(held, (images, labels), strict=True):
            place.copy_(fresh)
        graph.replay()
        for weights, gradient in gradients:  # work without the graph leaves others there
            weights.grad = gradient
        return results

    return replayed
