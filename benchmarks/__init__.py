"""Measurements that a reader can repeat."""

from __future__ import annotations

import argparse


def command_line(about: str | None, rounds: int | None = None) -> argparse.ArgumentParser:
    """Return a parser that says what a module says of itself, with `--rounds` if it has them."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if rounds:
        parser.add_argument("--rounds", type=int, default=rounds, help="how often each is measured")
    return parser
