"""All apps under one roof, each with a sentence that says what to notice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets

from cvae_utils.checks import check_at_least
from cvae_utils.data import DIGITS, Split, to_unit
from cvae_utils.evaluation import most_used
from cvae_utils.models import ConditionalGenerator, ConditionalVAE, InpaintingCVAE
from cvae_utils.widgets.apps import (
    DigitExplorer,
    DrawingExplorer,
    DuelExplorer,
    HoleExplorer,
    MorphExplorer,
    StyleExplorer,
)
from cvae_utils.widgets.explorer import APP, STILL, Explorer

# title -> what to notice, and the notebook that explains it
NOTES = {
    "Digits": (
        "The label decides which digit, the code decides how it is written: change the digit, and "
        "all twenty keep their hand. The sliders move the dimensions of the code that hold the "
        "most. Each bears the name of the trait that it changes most when measured: slant, width, "
        "stroke or height, else shape. It may change others as well, and two may share a name.",
        "03_conv_cvae",
    ),
    "Style": (
        "At the left three digits that people wrote, behind each all the labels with its code. "
        "Slant, weight and width travel from label to label, though nobody ever wrote these rows.",
        "03_conv_cvae",
    ),
    "Morph": (
        "The label changes from left to right, the style from top to bottom. In the middle the "
        "model is told two digits at once: see where it makes up its mind.",
        "02_label_cvae",
    ),
    "Fill a hole": (
        "At the left the flawed image over the whole one, then ten completions; at the right their "
        "mean over their spread, dark where they disagree. A small hole leaves no doubt, a large "
        "one many.",
        "04_inpainting_cvae",
    ),
    "Draw": (
        "Grey is what the model cannot see. Write a part of a digit in ink, and it shows you ten "
        "ways to go on; wipe to empty paper, and it knows that nothing is there; or lay an image "
        "on the page, and hide a part of it. At the right the mean over the spread.",
        "04_inpainting_cvae",
    ),
    "CVAE and GAN": (
        "The upper row is the CVAE's, the lower one the conditional GAN's. The CVAE draws how "
        "probable ink is, so its doubt shows as grey; the GAN shows none. A lower temperature "
        "gives both safer digits, and more of the same.",
        "05_cgan",
    ),
}


class Playground(ipywidgets.Tab):
    """Six apps on tabs: digits, styles, morphs, holes, drawing, CVAE beside GAN.

    Args:
        cvae: draws most of it.
        cgan: draws beside it.
        inpainting: fills holes; trained with mixed masks.
        digits: handwritten ones.
        classes: the labels' names, as many as the models have.
        sliders: how many dimensions of the code get one, the most used first.
    """

    STYLES, PAGES = 1000, 20  # handwritten digits to take styles from, and to hide parts of

    def __init__(
        self,
        cvae: ConditionalVAE,
        cgan: ConditionalGenerator,
        inpainting: InpaintingCVAE,
        digits: Split,
        classes: Sequence[str] = DIGITS,
        sliders: int = 6,
    ) -> None:
        sliders = check_at_least("sliders", sliders, 1)
        digits = digits.take(self.STYLES)
        images = to_unit(digits.images)
        names = {n: f"{word}, z[{n}]" for n, word in most_used(cvae, digits, sliders).items()}
        self.apps: list[Explorer] = [
            DigitExplorer(cvae, list(names), names=names, classes=classes),
            StyleExplorer(cvae, images, digits.labels, classes),
            MorphExplorer(cvae, classes),
            HoleExplorer(inpainting, images[: self.PAGES], dimensions=()),
            DrawingExplorer(inpainting, images[: self.PAGES]),
            DuelExplorer({"CVAE": cvae, "CGAN": cgan}, classes),
        ]
        pages = [
            ipywidgets.VBox([app, ipywidgets.HTML(f"<p>{note} {_link(notebook)}</p>")])
            for app, (note, notebook) in zip(self.apps, NOTES.values(), strict=True)
        ]
        super().__init__(pages, titles=list(NOTES))
        self.add_class(APP)
        self.add_class("playground")

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """Add the first app's still picture, for pages that show no widgets."""
        bundle: dict[str, Any] = super()._repr_mimebundle_(**kwargs) or {}
        return self.apps[0]._repr_mimebundle_() | bundle | {"text/plain": STILL}


def _link(notebook: str) -> str:
    look = 'target="_blank" style="text-decoration: underline"'
    return f'<a href="{notebook}.ipynb" {look}>Notebook {notebook[:2]} explains it.</a>'
