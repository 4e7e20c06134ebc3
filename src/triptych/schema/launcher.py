"""Who starts the processes of a training run, where it is not the command itself."""

from dataclasses import dataclass
from typing import Any

from triptych.schema.option import Range, option


@dataclass
class Slurm:
    """A batch job of SLURM: the command writes a script for it and submits that."""

    nodes: int = option("machines", default=1, range=Range(least=1))
    devices: int = option(
        "processes on each machine, one for each of the GPUs that are asked for (none with trainer.accelerator=cpu)",
        default=1,
        range=Range(least=1),
    )
    cpus_per_task: int | None = option(
        "cores for each process, its loader's workers included; null: as the cluster has it",
        default=None,
        range=Range(least=1),
    )
    memory: str | None = option("memory of each machine, such as 64G; null: as the cluster has it", default=None)
    time: str | None = option(
        "time limit, DAYS-HOURS:MINUTES:SECONDS or less of it; null: that of the partition", default=None
    )
    partition: str | None = option("partition; null: the cluster's own choice", default=None)
    account: str | None = option("account that pays; null: your own", default=None)
    options: str | None = option(
        "more options of sbatch, as on its command line: --constraint=a100 --exclusive", default=None
    )
    setup: str | None = option(
        "shell commands before the training, such as module load cuda; the Python that submits is the one that trains",
        default=None,
    )
    signal_before: int = option(
        "seconds before the time limit at which the run is told to save and stop; more than a step, a validation and a "
        "save take. SLURM may be a minute early",
        default=120,
        range=Range(least=1, below=65536),
    )
    requeue: bool = option(
        "start the job again, to go on with its run, when the time limit or a pre-emption stopped it or a process was "
        "lost",
        default=True,
    )
    max_requeues: int = option("how often at most", default=20, range=Range(least=0))
    dry_run: bool = option("write the script, and do not submit it", default=False)


PLACES: dict[str, tuple[type[Any], ...]] = {"launcher": (Slurm,)}
