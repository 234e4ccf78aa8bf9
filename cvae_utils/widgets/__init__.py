"""The slider apps, each a thin layer over plain functions that a test can call."""

from cvae_utils.widgets.apps import (
    DigitExplorer,
    DrawingExplorer,
    DuelExplorer,
    HoleExplorer,
    MorphExplorer,
    StyleExplorer,
)
from cvae_utils.widgets.explorer import STILL, Explorer
from cvae_utils.widgets.pictures import (
    DrawingState,
    DuelState,
    ExplorerState,
    HoleState,
    MorphState,
    Stroke,
    StyleState,
    duel,
    explore,
    fill,
    fill_page,
    morph,
    page,
    png,
    restyle,
    saved_state,
)
from cvae_utils.widgets.playground import Playground

__all__ = [
    "STILL",
    "DigitExplorer",
    "DrawingExplorer",
    "DrawingState",
    "DuelExplorer",
    "DuelState",
    "Explorer",
    "ExplorerState",
    "HoleExplorer",
    "HoleState",
    "MorphExplorer",
    "MorphState",
    "Playground",
    "Stroke",
    "StyleExplorer",
    "StyleState",
    "duel",
    "explore",
    "fill",
    "fill_page",
    "morph",
    "page",
    "png",
    "restyle",
    "saved_state",
]
