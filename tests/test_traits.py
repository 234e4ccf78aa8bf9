"""Traits against bars drawn with a ruler, and dimensions of which each changes just one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cvae_utils import data
from cvae_utils.evaluation import effects, seems_to_change, traits
from cvae_utils.models import ConditionalVAE
from tests.conftest import Prior


def bars(slant: Tensor, stroke: Tensor, height: Tensor, apart: Tensor) -> Tensor:
    """Draw slanted bars of soft edges, (B,) each -> (B, 28, 28); rows count downwards."""
    rows, columns = torch.arange(28.0)[None, :, None] - 13.5, torch.arange(28.0) - 13.5
    off = ((columns + slant[:, None, None] * rows).abs() - apart[:, None, None] / 2).abs()
    across = (stroke[:, None, None] / 2 + 0.5 - off).clamp(0, 1)
    along = (height[:, None, None] / 2 + 0.5 - rows.abs()).clamp(0, 1)
    return across * along


def measured(slant: float, stroke: float, height: float) -> dict[str, float]:
    drawn = bars(*(torch.tensor([value]) for value in (slant, stroke, height, 0.0)))
    return {trait: float(value) for trait, value in traits(drawn).items()}


def test_a_bar_has_the_traits_that_it_was_drawn_with() -> None:
    upright = measured(0, 3, 20)
    assert upright["slant"] == pytest.approx(0, abs=1e-5)
    assert upright["stroke"] == pytest.approx(2 * 60 / 46, rel=1e-3)  # twice the area by outline
    assert upright["height"] == pytest.approx(20 / 12**0.5, rel=0.02)  # of an even distribution
    leaning = measured(0.3, 3, 20)
    assert leaning["slant"] == pytest.approx(0.3, abs=0.01)
    assert leaning["width"] == pytest.approx(upright["width"], rel=0.05)  # slant is no width
    assert measured(0, 5, 20)["stroke"] > 1.4 * upright["stroke"]
    assert measured(0, 9, 20)["width"] == pytest.approx(9 / 12**0.5, rel=0.05)
    assert measured(0, 3, 10)["height"] < 0.6 * upright["height"]


def test_real_ones_are_narrower_than_zeros(digits: data.Split) -> None:
    images = data.to_unit(digits.images)
    found = traits(images)
    width = {digit: found["width"][digits.labels == digit].mean() for digit in (0, 1)}
    assert width[1] < 0.6 * width[0]


def test_an_empty_image_has_no_traits() -> None:
    with pytest.raises(ValueError, match="images must have ink"):
        traits(torch.zeros(2, 28, 28))


class Bars(nn.Module):
    """Draws two bars: z[0] shortens, z[1] slants, z[2] thickens, z[3] parts, z[4] does nothing."""

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        drawn = bars(0.1 * z[:, 1], 3 + 0.5 * z[:, 2], 16 - 2 * z[:, 0], 12 + z[:, 3])
        return torch.logit(drawn.clamp(1e-6, 1 - 1e-6))


class Ruled(ConditionalVAE):
    name = "ruled"

    def __init__(self) -> None:
        super().__init__()
        self.latent_dim = 5
        self.config = {}
        self.anchor = nn.Parameter(torch.zeros(1))
        self.prior_net, self.generation_net = Prior(), Bars()

    def condition(self, labels: Tensor) -> Tensor:
        return nn.functional.one_hot(labels, 10).float()


def test_each_dimension_is_named_after_what_it_changes() -> None:
    named = seems_to_change(Ruled(), range(5))
    words = ["shorter", "leans right", "thicker", "wider", "shape"]
    assert named == dict(enumerate(words))


class Uneven(nn.Module):
    """Draws a bar of a height that is quadratic in z[0], and another for each label."""

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        label, none = c.argmax(1).to(z.dtype), torch.zeros(len(z))
        drawn = bars(none, none + 3, 10 + 0.3 * (z[:, 0] + 2).square() + 0.6 * label, none)
        return torch.logit(drawn.clamp(1e-6, 1 - 1e-6))


def test_codes_move_between_two_places_and_the_spread_is_that_within_a_label() -> None:
    """Where a code was along the dimension has no say, nor how one label differs from another."""
    model = Ruled()
    model.generation_net = Uneven()
    found = effects(model, 0, count=50, reach=1.0)
    z = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))[:, 0]

    def height(places: Tensor) -> Tensor:
        of_labels = [nn.functional.one_hot(torch.full((50,), label), 10) for label in range(10)]
        codes = places[:, None].expand(-1, 5)
        drawn = [torch.sigmoid(model.generation_net(codes, c)) for c in of_labels]
        return torch.stack([traits(images)["height"] for images in drawn])  # (10, 50)

    one = torch.ones(50)
    change = (height(one) - height(-one)).mean()
    spread = torch.stack([row.std() for row in height(z)]).mean()
    assert found["height"] == pytest.approx((change / spread).item(), rel=1e-4)


def test_an_effect_is_the_change_over_the_usual_spread() -> None:
    found = effects(Ruled(), 1, count=500)
    # From -2 to 2 of a standard normal: four standard deviations.
    assert found["slant"] == pytest.approx(4, rel=0.1)
    assert abs(found["height"]) < 0.2
    assert effects(Ruled(), 4)["slant"] == 0
