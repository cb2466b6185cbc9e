"""The one place where devices are chosen, and where their memory is asked for."""

from __future__ import annotations

from pathlib import Path

import psutil

from eggs_core.errors import OutOfMemory
from eggs_core.heavy import torch
from eggs_core.units import size

CGROUP = Path("/sys/fs/cgroup")  # where a container's limit stands


def best_device() -> torch.device:
    """The fastest device here: CUDA, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def describe(device: torch.device) -> str:
    """A name of the device that a person recognises."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads" if device.type == "cpu" else device.type.upper()


def free_memory(device: torch.device) -> int:
    """Bytes that can still be used on a device; of a CPU's memory what the machine and the container leave."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = psutil.virtual_memory().available
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        if limit != "max":
            free = min(free, int(limit) - int((CGROUP / "memory.current").read_text()))
    except (OSError, ValueError):  # no container
        pass
    return max(0, free)


def check_room(count: float, device: torch.device, what: str) -> None:
    """Raise OutOfMemory if `count` bytes do not fit on a device: Linux ends the whole process rather than one job."""
    free = free_memory(device)
    if count > free:
        raise OutOfMemory(
            f"{what} needs some {size(count)} of memory, and {size(free)} are free; "
            "choose a smaller model, or try again when less is running."
        )


def every_device(device: torch.device) -> list[torch.device]:
    """All devices of this kind where there are several of it."""
    if device.type != "cuda":
        return [device]
    return [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
