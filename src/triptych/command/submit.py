"""Hands a task over to the launcher that its configuration names."""

import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import cast

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from triptych.command.slurm import BatchJob
from triptych.errors import UserError
from triptych.parallel.launch import launched
from triptych.schema.launcher import Slurm

_MULTIRUN = ("-m", "--multirun")


def of_launcher(word: str) -> bool:
    """Whether an override sets the launcher."""
    return re.match(r"(\+\+|\+|~)?launcher([.=]|$)", word) is not None


def of_sweep(words: Sequence[str]) -> list[str]:
    """The overrides of the present one of a sweep's jobs; `words`, those that were typed, where there is no sweep."""
    hydra = HydraConfig.get()
    return list(hydra.overrides.task) if hydra.mode == RunMode.MULTIRUN else list(words)


def submit(task: str, words: Sequence[str], config: DictConfig) -> int:
    """Writes the script of a batch job that runs `task` with the overrides `words`, and submits it; the exit code.

    Args:
        task: name of the task.
        words: what was typed after it; what is said of the launcher is left out.
        config: what they compose to.

    Raises:
        UserError: the settings do not go with a launcher, or SLURM refuses the job.
    """
    launcher = cast(Slurm, OmegaConf.to_object(config.launcher))
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # what is missing is missed here, not there
    if launched():
        raise UserError("launcher=slurm submits a job, and this is one of the processes of a job: leave it out")
    if config.trainer.devices != 1:
        raise UserError(
            f"trainer.devices={config.trainer.devices}, but SLURM starts the processes: leave it out, and say "
            f"launcher.devices={config.trainer.devices}"
        )
    words = [word for word in words if word not in _MULTIRUN and not of_launcher(word)]
    _check_secrets(words)
    here = [] if config.resume else ["launcher=null"]  # an experiment may have chosen the launcher
    file = _new_file(Path(config.output).absolute() / "slurm", f"{task}_{config.name}")
    job = BatchJob(
        launcher=launcher,
        name=config.name,
        program=[sys.executable, "-m", "triptych", task],
        words=[*words, *here],
        folder=Path.cwd(),
        log=file.with_name(f"{file.stem}_%j.log"),
        gpus=config.trainer.accelerator != "cpu",
        patience=math.ceil(config.trainer.timeout) + 60,
    )
    try:
        file.write_text(job.script(), encoding="utf-8")
    except UserError:
        file.unlink()
        raise
    if launcher.dry_run or shutil.which("sbatch") is None:
        why = "not submitted (launcher.dry_run=true)" if launcher.dry_run else "there is no sbatch here to submit it"
        print(f"wrote {file}; {why}: sbatch {shlex.quote(str(file))}")
        return 0
    return _sbatch(file)


def _sbatch(file: Path) -> int:
    answer = subprocess.run(["sbatch", "--parsable", str(file)], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise UserError(f"sbatch refuses {file}: {answer.stderr.strip() or answer.stdout.strip()}")
    number = answer.stdout.strip().partition(";")[0]  # a cluster's name may follow
    log = file.with_name(f"{file.stem}_{number}.log")
    print(f"submitted job {number}: {file}; what it prints goes to {log}")
    return 0


def _new_file(folder: Path, name: str) -> Path:
    """An empty file `folder/NAME_DATE_TIME.sh` that only its owner reads; two in one second each get their own."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stem = re.sub(r"[^\w.-]", "_", name) + f"_{datetime.now():%Y-%m-%d_%H-%M-%S}"
        number = 1
        while True:
            path = folder / f"{stem}{'' if number == 1 else f'_{number}'}.sh"
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o700))
            except FileExistsError:
                number += 1
            else:
                return path
    except OSError as error:
        raise UserError(
            f"no script can be written in '{folder}': {error.strerror}. Choose another output=..."
        ) from error


def _check_secrets(words: Sequence[str]) -> None:
    from triptych.rundir.masking import is_secret_name

    for word in words:
        key, _, value = word.partition("=")
        name = key.rpartition(".")[2]
        if is_secret_name(name) and value not in ("", "null") and "${" not in value:
            raise UserError(
                f"{key}=... would stand in the script of the job: put it into the environment, which the job inherits, "
                f"and say {key}='${{oc.env:{name.upper()}}}'"
            )
