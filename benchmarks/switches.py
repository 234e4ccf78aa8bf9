"""The switches of `training.fit`: what each of them buys, and that it changes no result.

    python -m benchmarks.switches [--models label_cvae cgan] [--rounds 3] [--device auto]

Two epochs each, in float32 and, where there are instructions for it, in bfloat16, on a GPU also
with a CUDA graph: the seconds are those of the second, when everything is warm and recorded. The
runs take turns, and medians are compared.
Beside an autoencoder's seconds stands the -ELBO on the test digits: with a switch and without they
should agree within 0.3 nats.
"""

from __future__ import annotations

import statistics
from typing import Any

import torch

from benchmarks import command_line
from benchmarks.machine import machine
from cvae_utils import data, evaluation, models, objectives, training

MODELS: dict[str, tuple[Any, dict[str, Any]]] = {  # its objective, and what else `fit` is told
    "label_cvae": (objectives.negative_elbo, {}),
    "conv_cvae": (objectives.negative_elbo, {}),
    "cgan": (
        objectives.adversarial(penalty=0.1),
        {"batch_size": 64, "prepare": data.grey, "momentum": objectives.GAN_MOMENTUM},
    ),
}


def main() -> None:
    """Measure and print."""
    parser = command_line(__doc__, rounds=3)
    parser.add_argument(
        "--models", nargs="+", choices=MODELS, default=["label_cvae"], help="which are trained"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    options = parser.parse_args()
    device, mnist = training.pick_device(options.device), data.load()
    switches: dict[str, dict[str, Any]] = {
        name: {"precision": name} for name in training.fast_precisions(device)
    }
    if device.type == "cuda":
        switches |= {f"{n}, CUDA graph": s | {"cuda_graph": True} for n, s in switches.items()}
    print(f"the second epoch of {len(mnist.train):,} digits, {options.rounds} rounds; "
          f"{machine(device)}")  # fmt: skip
    for name in options.models:
        objective, settings = MODELS[name]
        times: dict[str, list[float]] = {switch: [] for switch in switches}
        costs = dict.fromkeys(switches, "")
        for _ in range(options.rounds):
            for switch, how in switches.items():
                torch.manual_seed(0)
                model = models.build(name).to(device)
                history = training.fit(model, objective, mnist.train, epochs=2, **settings, **how)
                times[switch].append(history.epochs[-1]["seconds"])
                if isinstance(model, models.ConditionalVAE):
                    cost = evaluation.elbo(model, mnist.test).negative_elbo
                    costs[switch] = f"   -ELBO {cost:6.2f} nats"
        for switch, took in times.items():
            print(f"{name:12} {switch:22} {statistics.median(took):7.3f} s{costs[switch]}")


if __name__ == "__main__":
    main()
