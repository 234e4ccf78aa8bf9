"""What a hand at a slider feels in the page without Python: from event to drawn canvas.

    python -m benchmarks.page [--page build/page] [--events 200]

The page is opened in Chromium and takes the time itself. A slider of each panel gets a new value
and its `input` event, one each frame, and the clock stops when the canvases are drawn; then real
keys are pressed, and it stops with the frame that shows the picture. Without `--page`, the page is
written into a folder of its own first.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Page, sync_playwright

from benchmarks import command_line
from benchmarks.widgets import percentile
from cvae_utils import data, export
from tests.browser import CHROMIUM
from tests.served import served

FRAME = 1000 / 60  # milliseconds
SLIDERS = {
    "twenty digits": "#digits input[type=range]",
    "ten completions": "#holes input[type=range]",
}

EVENTS = """async ([selector, events]) => {
    const slider = document.querySelector(selector), panel = slider.closest('section');
    const times = [];
    for (let event = 0; event < events; event++) {
        await new Promise(requestAnimationFrame);
        const drawn = new Promise(done => panel.addEventListener('drawn', done, {once: true}));
        const start = performance.now();
        if (event % 20 < 10) slider.stepUp(); else slider.stepDown();
        slider.dispatchEvent(new Event('input', {bubbles: true}));
        await drawn;
        times.push(performance.now() - start);
    }
    return times;
}"""

# A key's event carries the time at which the browser got it; the task behind the next animation
# frame begins when that frame has been handed on to the screen.
WATCH_KEYS = """selector => {
    window.waits = [];
    let pressed = 0;
    const slider = document.querySelector(selector);
    slider.focus();
    slider.addEventListener('keydown', event => { pressed = event.timeStamp });
    slider.closest('section').addEventListener('drawn', () => {
        requestAnimationFrame(() => {
            const {port1, port2} = new MessageChannel();
            port1.onmessage = () => window.waits.push(performance.now() - pressed);
            port2.postMessage(null);
        });
    });
}"""


def report(what: str, times: list[float]) -> None:
    """Print one line of figures."""
    within = sum(taken <= FRAME for taken in times) / len(times)
    print(f"{what:44} {min(times):7.1f} {statistics.median(times):7.1f} "
          f"{percentile(times, 0.99):7.1f}   {within:4.0%}")  # fmt: skip


def measure(page: Page, events: int) -> None:
    """Measure and print both panels."""
    print(f"{'milliseconds':44} {'least':>7} {'median':>7} {'99 %':>7}   within {FRAME:.0f}")
    for what, selector in SLIDERS.items():
        page.evaluate(EVENTS, [selector, 20])  # what only the first ones take
        report(f"slider event to {what}", page.evaluate(EVENTS, [selector, events]))
    for what, selector in SLIDERS.items():
        page.evaluate(WATCH_KEYS, selector)
        for press in range(events):
            page.keyboard.press("ArrowRight" if press % 20 < 10 else "ArrowLeft")
            page.wait_for_function("count => window.waits.length > count", arg=press)
        report(f"key press to the frame with {what}", page.evaluate("() => window.waits"))


def main() -> None:
    """Measure and print."""
    parser = command_line(__doc__)
    parser.add_argument(
        "--page", type=Path, help="folder of a page that is there; a new one is made if none"
    )
    parser.add_argument("--events", type=int, default=200, help="how many of each kind")
    options = parser.parse_args()
    if not CHROMIUM:
        print("no Chromium on this machine: nothing measured")
        return
    with TemporaryDirectory() as scratch:
        folder = options.page or Path(scratch)
        if not options.page:
            export.write_page(folder, data.load(download=False).test)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        with served(folder) as address, sync_playwright() as play:
            browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1200, "height": 900})
            start = time.perf_counter()
            page.goto(address)
            page.locator("#holes:not([inert])").wait_for()
            opened = time.perf_counter() - start
            print(f"Chromium {browser.version}, {os.cpu_count()} cores with a load of "
                  f"{os.getloadavg()[0]:.1f}; the page has {size / 1e6:.1f} MB "
                  f"and is there after {opened:.1f} s")  # fmt: skip
            measure(page, options.events)
            browser.close()


if __name__ == "__main__":
    main()
