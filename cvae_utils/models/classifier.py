"""The independent judge: a small convolutional classifier that reads digits."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cvae_utils.checks import NUM_CLASSES, check_at_least, check_beside, check_unit_images
from cvae_utils.models.base import at_rest

AT_ONCE = 100  # images: what the first convolution makes of them still fits a CPU's cache


def _block(inputs: int, outputs: int) -> nn.Sequential:
    """Convolve 3 x 3, normalize, SiLU, and halve both sides."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.SiLU(),
        nn.MaxPool2d(2),
    )


class Classifier(nn.Module):
    """Reads an image (B, 28, 28) in [0, 1] as one of several classes.

    It is trained apart from all generative models, and only judges them.

    Args:
        width: channels at 28 x 28; twice as many at 14 x 14, and again at 7 x 7.
        num_classes: how many different labels there are.
    """

    name: ClassVar[str] = "classifier"

    def __init__(self, width: int = 32, num_classes: int = NUM_CLASSES) -> None:
        width = check_at_least("width", width, 1)
        num_classes = check_at_least("num_classes", num_classes, 2)
        super().__init__()
        self.num_classes = num_classes
        self.config: dict[str, Any] = {"width": width, "num_classes": num_classes}
        self.features = nn.Sequential(
            _block(1, width),  # (B, 1, 28, 28) -> (B, width, 14, 14)
            _block(width, 2 * width),  # -> (B, 2 width, 7, 7)
            _block(2 * width, 4 * width),  # -> (B, 4 width, 3, 3)
            nn.Flatten(),  # -> (B, 36 width)
            nn.Linear(36 * width, 128),
            nn.SiLU(),
        )
        self.head = nn.Linear(128, num_classes)
        self.to(memory_format=torch.channels_last)  # convolves and pools faster on a CPU

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, 28, 28) to class logits (B, num_classes)."""
        logits: Tensor = self.head(self.features(x.unsqueeze(1)))
        return logits

    @torch.no_grad()
    def describe(self, x: Tensor) -> Tensor:
        """Return the last hidden layer's activations (B, 128) for images (B, 28, 28) in [0, 1].

        Raises:
            ValueError: images of another shape or range.
        """
        return self._in_parts(self.features, x)

    @torch.no_grad()
    def read(self, x: Tensor) -> Tensor:
        """Return the class (B,) int64 that each image (B, 28, 28) in [0, 1] is read as.

        Raises:
            ValueError: images of another shape or range.
        """
        return self._in_parts(nn.Sequential(self.features, self.head), x).argmax(1)

    def _in_parts(self, network: nn.Module, x: Tensor) -> Tensor:
        """Return what a part of this network in evaluation makes of images (B, 28, 28)."""
        check_unit_images("x", x)
        check_beside("x", x, next(self.parameters()))
        with at_rest(self):
            return torch.cat([network(part.unsqueeze(1)) for part in x.split(AT_ONCE)])
