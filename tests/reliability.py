"""`docs/reliability.md`, made from the test run: which fault was tried, how often, by which test.

A test that provokes a fault says so with a marker,

    @pytest.mark.reliability("data", "a mirror answers 403", "the next mirror is asked")

that is the area, what is tried, and what happens then. It counts as one case, each set of its
parameters as one more; a test that tries many in one go tells how many to pytest's own fixture:
`record_property("cases", 100)`.

`--reliability=write` makes the page anew; `--reliability=check` fails the run if the page is not
what the run would make of it. Both want all marked tests to have passed: where one was skipped, for
want of a browser, say, nothing is checked, and writing is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reliability.md"
AREAS = ("data", "training", "checkpoints", "input", "widgets", "versions", "security")
INTRODUCTION = """\
# Reliability: what was broken on purpose

Each row is a fault that a test provokes, what must happen then, the test that sees to it, and in
how many cases it did. The page is made by the tests themselves (`make reliability`), and
`make test` fails when it no longer says what they did.

"""


@dataclass(frozen=True)
class Row:
    """One line of the page, before its cases are counted."""

    area: str
    tried: str
    outcome: str
    test: str


class Reliability:
    """Collects what the marked tests did; in a run of several workers, on the one that leads."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.cases: dict[Row, int] = {}
        self.failed: set[str] = set()
        self.skipped: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count the cases of a marked test that passed."""
        told = dict(report.user_properties)
        if "reliability" not in told:
            return
        area, tried, outcome = cast(tuple[str, str, str], told["reliability"])
        row = Row(area, tried, outcome, report.nodeid.split("[")[0])
        if report.outcome == "skipped":
            self.skipped.add(row.test)
        elif report.outcome == "failed":
            self.failed.add(row.test)
        elif report.when == "call":
            self.cases[row] = self.cases.get(row, 0) + cast(int, told.get("cases", 1))

    def page(self) -> str:
        """Return the page, areas in their order, rows in the order of the tests' files."""
        lines = [INTRODUCTION]
        for area in AREAS:
            rows = sorted((row for row in self.cases if row.area == area), key=lambda row: row.test)
            if not rows:
                continue
            lines += [f"## {area.capitalize()}\n\n", "| tried | what happens | test | cases |\n"]
            lines.append("|---|---|---|---:|\n")
            for row in rows:
                cells = (row.tried, row.outcome, f"`{row.test}`", f"{self.cases[row]:,}")
                lines.append(f"| {' | '.join(cells)} |\n")
            lines.append("\n")
        return "".join(lines).rstrip() + "\n"

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the page, or hold it against the run."""
        if self.failed or self.skipped:
            if self.mode == "write":  # half a page would be worse than the old one
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
        elif self.mode == "write":
            PAGE.write_text(self.page())
        elif self.page() != PAGE.read_text():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            self.stale = True

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what became of the page."""
        total = f"{sum(self.cases.values()):,} cases in {len(self.cases)} rows"
        if self.failed:
            terminalreporter.write_line(f"reliability: failed: {', '.join(sorted(self.failed))}")
        elif self.skipped:
            line = f"{PAGE.name} is not checked, skipped: {', '.join(sorted(self.skipped))}"
            terminalreporter.write_line(f"reliability: {line}")
        elif getattr(self, "stale", False):
            terminalreporter.write_line(
                f"reliability: {PAGE.name} is stale ({total}); run: make reliability", red=True
            )
        else:
            terminalreporter.write_line(f"reliability: {total}")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the switch."""
    parser.addoption("--reliability", choices=("write", "check"), help="docs/reliability.md")


def pytest_configure(config: pytest.Config) -> None:
    """Begin to collect, if asked to."""
    config.addinivalue_line(
        "markers", "reliability(area, tried, outcome): a row of docs/reliability.md"
    )
    mode = config.getoption("--reliability")
    if mode and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Reliability(mode), "reliability")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Send each marker along with the test's report, also from one worker to another."""
    for item in items:
        if marker := item.get_closest_marker("reliability"):
            area, tried, outcome = marker.args
            assert area in AREAS, f"{item.nodeid}: {area} is none of {AREAS}"
            item.user_properties.append(("reliability", (area, tried, outcome)))
