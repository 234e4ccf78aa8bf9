"""What a hand at the slider feels: from event to picture, in the kernel and in the browser.

    python -m benchmarks.widgets [--rounds 200] [--updates 2000] [--presses 100]

In the kernel a control of each app is changed `--rounds` times, and each change is timed until the
PNG is there; then `--updates` changes in a row show whether memory grows or time gets longer. Where
a Chromium is found, notebook 00 is opened in JupyterLab and run: the time from *Run All* to the
first picture, and, by the page's own clock, from a key press to the new picture.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import ipywidgets
from playwright.sync_api import sync_playwright

from benchmarks import command_line
from benchmarks.machine import machine
from cvae_utils import checkpoints, data, widgets
from tests.browser import CHROMIUM, jupyter_lab, open_notebook, run_all_cells

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "00_playground.ipynb"
OPENINGS = 3

# The page itself takes the time: from the key going down to the new picture, loaded and decoded.
WATCH = """() => {
    window.waits = [];
    let pressed = 0;
    document.addEventListener('keydown', () => { pressed = performance.now() }, true);
    document.addEventListener('load', async event => {
        if (event.target.tagName !== 'IMG' || !pressed) return;
        const since = pressed;
        pressed = 0;
        await event.target.decode();
        window.waits.push(performance.now() - since);
    }, true);
}"""


def resident_megabytes() -> float:
    """Return how much memory this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def milliseconds(control: ipywidgets.ValueWidget, value: float) -> float:
    """Time what a new value of a control sets off."""
    start = time.perf_counter()
    control.value = value
    return 1000 * (time.perf_counter() - start)


def percentile(times: list[float], share: float) -> float:
    """Return the value that `share` of the times do not exceed."""
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]


def in_the_kernel(rounds: int, updates: int) -> None:
    """Measure and print the kernel's half."""
    playground = widgets.Playground(
        checkpoints.load_vae("conv_cvae"),
        checkpoints.load_gan("cgan"),
        checkpoints.load_inpainting("inpainting_mixed"),
        data.load(download=False).test,
    )
    print(f"event to PNG, {rounds} each     median   99 %")
    for app in playground.apps:
        times = [milliseconds(app.seed, seed) for seed in range(1, rounds + 1)]
        print(f"{app.NAME:24} {statistics.median(times):8.1f} {percentile(times, 0.99):6.1f} ms")
    (digits, *_) = playground.apps
    slider = next(iter(digits.shifts.values()))
    places = [(step % 60 - 30) / 10 for step in range(updates)]
    for place in places[:100]:  # what only the first ones take
        slider.value = place
    before = resident_megabytes()
    times = [milliseconds(slider, place) for place in places]
    growth, tenth = resident_megabytes() - before, max(1, updates // 10)
    first, last = statistics.median(times[:tenth]), statistics.median(times[-tenth:])
    print(f"{updates:,} updates in a row: memory {growth:+.1f} MB, "
          f"median of the first tenth {first:.1f} ms, of the last {last:.1f} ms")  # fmt: skip


def in_the_browser(chromium: str, presses: int) -> None:
    """Measure and print what the page sees."""
    with TemporaryDirectory() as root, TemporaryDirectory() as home:
        copies = [f"{n}.ipynb" for n in range(OPENINGS)]  # each gets a kernel of its own
        for copy in copies:
            shutil.copy(NOTEBOOK, Path(root, copy))
        with jupyter_lab(Path(root), Path(home)) as address, sync_playwright() as play:
            browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            opened = []
            for copy in copies:
                page = browser.new_page(viewport={"width": 1200, "height": 1000})
                open_notebook(page, address, copy)
                start = time.perf_counter()
                run_all_cells(page, timeout=120_000)
                page.locator(".digit-explorer img").wait_for()
                opened.append(time.perf_counter() - start)
            page.evaluate(WATCH)
            page.locator(".digit-explorer .noUi-handle").nth(1).focus()
            for press in range(presses):
                page.keyboard.press("ArrowRight" if press % 20 < 10 else "ArrowLeft")
                page.wait_for_function("count => window.waits.length > count", arg=press)
            waits = page.evaluate("() => window.waits")
            browser.close()
    print(f"Run All to the first picture: {', '.join(f'{s:.1f}' for s in opened)} s")
    print(f"key press to new picture, {presses} presses: median {statistics.median(waits):.0f} ms, "
          f"99 % {percentile(waits, 0.99):.0f} ms")  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = command_line(__doc__, rounds=200)
    parser.add_argument(
        "--updates", type=int, default=2000, help="pictures sent one after the other"
    )
    parser.add_argument("--presses", type=int, default=100, help="of a key, in the browser")
    options = parser.parse_args()
    print(machine())
    in_the_kernel(options.rounds, options.updates)
    if CHROMIUM:
        in_the_browser(CHROMIUM, options.presses)
    else:
        print("no Chromium on this machine: nothing measured in a browser")


if __name__ == "__main__":
    main()
