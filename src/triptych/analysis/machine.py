"""What a run ran on, and how much of it it used."""

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

_PACKAGES = ("triptych", "torch", "lightning", "torchvision", "timm")

# Dense bfloat16 FLOP/s with float32 accumulation, from NVIDIA's data sheets of these products (where a sheet gives the
# figure "with sparsity", half of it). A name that is not here has no peak: a guess would make the MFU a guess.
_BF16_PEAKS = (
    ("NVIDIA B200", 2.25e15),
    ("NVIDIA H200 NVL", 836e12),
    ("NVIDIA H200", 989e12),
    ("NVIDIA H100 NVL", 836e12),
    ("NVIDIA H100 PCIe", 756e12),
    ("NVIDIA H100 80GB HBM3", 989e12),
    ("NVIDIA A100", 312e12),
    ("NVIDIA A10G", 70e12),
    ("NVIDIA A10", 125e12),
    ("NVIDIA A30", 165e12),
    ("NVIDIA A40", 149.7e12),
    ("NVIDIA L40S", 362e12),
    ("NVIDIA L40", 181e12),
    ("NVIDIA L4", 121e12),
    ("NVIDIA GeForce RTX 4090", 165.2e12),
    ("NVIDIA GeForce RTX 3090", 71e12),
)


@dataclass(frozen=True)
class Device:
    """What trained: its name, how many of them, and the dense bfloat16 FLOP/s of each where they are known."""

    name: str
    count: int
    peak_flops: float | None


def device(of: torch.device, count: int) -> Device:
    """The device of this process and its like; for a CPU the processor's name, and no peak."""
    if of.type == "cuda":
        name = torch.cuda.get_device_name(of)
        return Device(name, count, peak_flops(name))
    if of.type == "cpu":
        return Device(f"{_processor()}, {usable_cores()} cores", count, None)
    return Device(of.type, count, None)


def peak_flops(name: str) -> float | None:
    """Dense bfloat16 FLOP/s of a GPU by its CUDA name; None for one that is not known."""
    for known, peak in _BF16_PEAKS:
        # "NVIDIA A100-SXM4-80GB" is an A100; "NVIDIA L4" is no L40 and "NVIDIA A100X" no A100.
        if name == known or (name.startswith(known) and name[len(known)] in " -"):
            return peak
    return None


def usable_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory(of: torch.device) -> dict[str, int | None]:
    """Bytes at the highest point so far: of this process (without loader workers), and of the CUDA allocator."""
    unit = 1 if sys.platform == "darwin" else 1024
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"process": resident, "cuda": torch.cuda.max_memory_allocated(of) if of.type == "cuda" else None}


def free_memory(of: torch.device) -> int | None:
    """Bytes that a device can still give: of a CUDA device what its driver says, of a CPU what Linux says is available
    without swapping, within the limit of its control group; None where nothing tells.
    """
    if of.type == "cuda":
        # What torch holds and does not use can be used as well.
        return torch.cuda.mem_get_info(of)[0] + torch.cuda.memory_reserved(of) - torch.cuda.memory_allocated(of)
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None
    try:
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
    except (OSError, ValueError):  # no control group, or one without a limit ("max")
        return available
    return min(available, limit - used)


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that decide what a run does; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def git_state(folder: Path) -> dict[str, str | bool] | None:
    """Commit of the git tree that holds `folder`, and whether tracked files differ from it; None outside of one."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "changed": bool(changes)}


def _git(folder: Path, *arguments: str) -> str:
    # No optional locks: a run must not get in the way of the user's own git commands.
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
