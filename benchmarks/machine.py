"""What decides the seconds of a benchmark, in words to print above them."""

from __future__ import annotations

import platform

import torch

CPU = torch.device("cpu")


def machine(device: torch.device = CPU) -> str:
    """Name torch, its threads and the processor: its instructions, or a GPU's name."""
    processor = f"{platform.machine()} with {torch.backends.cpu.get_cpu_capability()}"
    if device.type == "cuda":
        processor = torch.cuda.get_device_name(device)
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads, {processor}"
