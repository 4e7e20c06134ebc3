"""Processes that SLURM's `srun` starts find their place as under torchrun; needs no torch."""

import os
import re
from collections.abc import Mapping

from triptych.errors import UserError
from triptych.parallel.launch import CORES, LOCAL, LOCAL_WORLD, RANK, WORLD, shared

# Below the ports that systems give to outgoing connections (Linux: from 32768), above those of services.
_PORTS = range(15000, 30000)
_STEPS = 16  # ports between one job and the next, for the steps of a job that run side by side


def adopt_srun() -> None:
    """Sets torchrun's variables where `srun` started this process as one of several, and no other launcher did.

    Raises:
        UserError: see `as_torchrun`; the same one in all of them.
    """
    if WORLD in os.environ or int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) == 1:
        return
    os.environ[RANK] = os.environ["SLURM_PROCID"]
    try:
        os.environ |= as_torchrun(os.environ)
    except UserError as error:
        raise shared(error) from None


def as_torchrun(slurm: Mapping[str, str]) -> dict[str, str]:
    """torchrun's variables for a process with these of `srun` (its manual, "Output environment variables").

    `MASTER_ADDR` and `MASTER_PORT` stay as they are where they are set.

    Raises:
        UserError: the tasks are not shared out among the nodes as torchrun would, as many on each, one node after the
            other.
    """
    counts = slurm["SLURM_STEP_TASKS_PER_NODE"]  # such as 8(x4), or 8,4
    same = re.fullmatch(r"(\d+)(\(x\d+\))?", counts)
    if same is None:
        raise UserError(
            f"srun started {counts} processes on its nodes, and each node needs as many: give srun --ntasks-per-node"
        )
    rank, local, local_world = int(slurm["SLURM_PROCID"]), int(slurm["SLURM_LOCALID"]), int(same[1])
    expected = int(slurm["SLURM_NODEID"]) * local_world + local
    if rank != expected:
        raise UserError(
            f"srun has put process {rank} where process {expected} belongs: give srun --distribution=block, which "
            "fills one node after the other"
        )
    step = _STEPS * int(slurm["SLURM_JOB_ID"]) + int(slurm.get("SLURM_STEP_ID", "0"))
    found = {
        RANK: str(rank), WORLD: slurm["SLURM_STEP_NUM_TASKS"], LOCAL: str(local), LOCAL_WORLD: str(local_world),
        "MASTER_ADDR": slurm.get("MASTER_ADDR") or first_host(slurm["SLURM_STEP_NODELIST"]),
        "MASTER_PORT": slurm.get("MASTER_PORT") or str(_PORTS[step % len(_PORTS)]),
    }  # fmt: skip
    if own := slurm.get("SLURM_CPUS_PER_TASK"):
        found[CORES] = own
    return found


def first_host(nodes: str) -> str:
    """The first of the hosts that SLURM writes as `gpu[01-04,07],login1`."""
    first = re.split(r",(?![^\[]*\])", nodes)[0]
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first)
