"""Ctrl-C and the stop button, held back until a moment at which nothing is half done."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def held_back() -> Iterator[Callable[[], None]]:
    """Hold an interrupt back while the body runs; yield what lets it through.

    Python raises KeyboardInterrupt between any two of its instructions, also in the middle of an
    optimizer's step, or where torch switches its precision over: half of it would stay switched.
    The body calls what it is given where stopping is safe. Who presses twice does not wait.

    Where an interrupt means something else already (a program that ignores it, a thread that gets
    none), nothing is changed.

    Raises:
        KeyboardInterrupt: where the body lets it through; at the latest at the end of the body.
    """
    pressed = False

    def let_through() -> None:
        nonlocal pressed
        if pressed:
            pressed = False
            raise KeyboardInterrupt

    def press(*_: object) -> None:
        nonlocal pressed
        let_through()  # the press before this one
        pressed = True

    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield let_through
        return
    signal.signal(signal.SIGINT, press)
    try:
        yield let_through
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        let_through()
