"""What `import cvae_utils` costs beside torch and torchvision, in fresh processes.

    python -m benchmarks.import_time [--rounds 5]

The statements take turns; medians are compared.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks import command_line

STATEMENTS = {
    "torch and torchvision": "import torch, torchvision",
    "and cvae_utils": "import torch, torchvision, cvae_utils",
    "and the whole library but pictures": (
        "import torch, torchvision\n"
        "from cvae_utils import checkpoints, data, evaluation, models, objectives, training"
    ),
}


def seconds(statement: str) -> float:
    """Time one statement in a process of its own."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)  # noqa: S603 - from the table
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    rounds = command_line(__doc__, rounds=5).parse_args().rounds
    for statement in STATEMENTS.values():  # the first import reads the disk
        seconds(statement)
    times = [{name: seconds(text) for name, text in STATEMENTS.items()} for _ in range(rounds)]
    base = statistics.median(row["torch and torchvision"] for row in times)
    for name in STATEMENTS:
        median = statistics.median(row[name] for row in times)
        print(f"{name:36} {median:6.2f} s   {median - base:+6.2f} s")


if __name__ == "__main__":
    main()
