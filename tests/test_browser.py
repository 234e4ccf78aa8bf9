"""The slider app as a person meets it: JupyterLab, a real browser, mouse and keyboard."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from cvae_utils import checkpoints
from tests.browser import jupyter_lab, open_notebook, run_all_cells

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
APP = ".digit-explorer"

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")

NOTEBOOK = """
from cvae_utils import checkpoints, widgets
cvae = checkpoints.load_vae("label_cvae")
widgets.digit_explorer(cvae, dimensions=range(6), digit=7)
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A notebook with the app of notebook 02, run in the browser."""
    root, home = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("home")
    cells = [nbformat.v4.new_code_cell(NOTEBOOK)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, root / "app.ipynb")
    with jupyter_lab(root, home) as address, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        open_notebook(page, address, "app.ipynb")
        assert run_all_cells(page, timeout=120_000) == []
        page.locator(f"{APP} img").wait_for(timeout=30_000)
        yield page
        shots = ROOT / "build" / "screenshots"
        shots.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=shots / "digit_explorer.png")
        browser.close()


def shown(page: Page) -> bytes:
    """Return the pixels that the page shows, as a PNG; empty while none is decoded."""
    address = page.evaluate(
        """app => {
            const image = document.querySelector(app + ' img');
            if (!image?.complete || !image.naturalWidth) return '';
            const canvas = document.createElement('canvas');
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            canvas.getContext('2d').drawImage(image, 0, 0);
            return canvas.toDataURL();
        }""",
        APP,
    )
    return base64.b64decode(address.partition(",")[2])


def digits_read(picture: bytes) -> list[int]:
    """Let the classifier read the twenty digits of a picture."""
    grey = np.asarray(Image.open(io.BytesIO(picture)).convert("L"), dtype=np.float32) / 255
    side = 2 * 32  # 28 pixels and a gap of 4, twice enlarged
    rows, columns = (grey.shape[0] + 8) // side, (grey.shape[1] + 8) // side
    tiles = [
        grey[side * row : side * row + 56, side * column : side * column + 56]
        for row in range(rows)
        for column in range(columns)
    ]
    ink = 1 - torch.from_numpy(np.stack(tiles))
    images = torch.nn.functional.avg_pool2d(ink.unsqueeze(1), 2).squeeze(1)
    return checkpoints.load_classifier().read(images.clamp(0, 1)).tolist()


def settled(page: Page, digit: int) -> bytes:
    """Wait until the picture shows the digit asked for, and return it."""
    for _ in range(100):
        picture = shown(page)
        # 17 of 20: about one sample in fifty is not read as its label.
        if picture and digits_read(picture).count(digit) >= 17:
            return picture
        page.wait_for_timeout(100)
    raise AssertionError(f"the picture does not show {digit}: {digits_read(shown(page))}")


def changed(page: Page, before: bytes) -> bytes:
    """Wait for another picture, and return it."""
    for _ in range(100):
        picture = shown(page)
        if picture and picture != before:
            return picture
        page.wait_for_timeout(100)
    raise AssertionError("the picture did not change")


def handle(page: Page, index: int) -> None:
    page.locator(f"{APP} .noUi-handle").nth(index).focus()


def test_the_app_opens_on_the_digit_asked_for(page: Page) -> None:
    assert len(digits_read(settled(page, 7))) == 20


def test_every_slider_has_room_for_its_track(page: Page) -> None:
    frame = page.locator(APP).bounding_box()
    tracks = [track.bounding_box() for track in page.locator(f"{APP} .noUi-target").all()]
    assert frame
    assert len(tracks) == 7  # the digit, and six dimensions
    for track in tracks:
        assert track
        assert track["width"] > 80
        assert track["x"] + track["width"] <= frame["x"] + frame["width"]


def test_the_digit_slider_follows_the_keyboard(page: Page) -> None:
    settled(page, 7)
    handle(page, 0)
    page.keyboard.press("ArrowLeft")
    settled(page, 6)
    page.keyboard.press("ArrowRight")
    settled(page, 7)


def test_resample_gives_other_sevens_and_the_seed_brings_them_back(page: Page) -> None:
    before = settled(page, 7)
    page.get_by_role("button", name="Resample").click()
    after = changed(page, before)
    assert digits_read(after).count(7) >= 17
    seed = page.locator(f"{APP} input[type=number]")
    seed.fill("0")
    seed.press("Enter")
    assert changed(page, after) == before


def test_a_latent_slider_moves_all_digits_and_comes_back(page: Page) -> None:
    before = settled(page, 7)
    handle(page, 1)
    page.keyboard.press("ArrowRight")
    after = changed(page, before)
    page.keyboard.press("ArrowLeft")
    assert changed(page, after) == before


def test_after_a_storm_of_moves_the_last_position_wins(page: Page) -> None:
    settled(page, 7)
    track = page.locator(f"{APP} .noUi-target").first.bounding_box()
    knob = page.locator(f"{APP} .noUi-handle").first.bounding_box()
    assert track
    assert knob
    height = knob["y"] + knob["height"] / 2
    page.mouse.move(knob["x"] + knob["width"] / 2, height)
    page.mouse.down()
    for place in [0.1, 0.9, 0.2, 0.8, 0.0, 1.0] * 5 + [1 / 3]:  # 3 of 0 to 9
        page.mouse.move(track["x"] + track["width"] * place, height)
    page.mouse.up()
    last = settled(page, 3)
    page.wait_for_timeout(500)
    assert shown(page) == last
