"""`launcher=slurm`: the script of a batch job that trains, starts again when it was pre-empted, and goes on.

What it relies on of SLURM is in the manuals of sbatch, srun and scontrol: `--signal` without `B:` goes to the tasks of
`srun` and not to the script, `srun` ends with the highest exit code of its tasks, and `scontrol requeue` runs the
script again under the same SLURM_JOB_ID, by which a job finds the run that it had begun (`triptych.rundir.launches`).
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from triptych.errors import UserError
from triptych.parallel.launch import LOST
from triptych.schema.launcher import Slurm

_SIGNALLED = 128
"""Exit codes from here on tell of a signal: one that asked the run to stop (143), or one that killed a process."""


@dataclass(frozen=True)
class BatchJob:
    """What SLURM is to run.

    Args:
        launcher: the settings.
        name: of the job in SLURM's lists.
        program: what each process runs.
        words: what the program is given.
        folder: where it runs.
        log: file that everything printed goes to; `%j` in its name is the number of the job.
        gpus: whether each process has a GPU.
        patience: seconds that processes may outlive the first that ended; they end by themselves before that.
    """

    launcher: Slurm
    name: str
    program: Sequence[str]
    words: Sequence[str]
    folder: Path
    log: Path
    gpus: bool
    patience: int

    def script(self) -> str:
        """The text of the script.

        Raises:
            UserError: a setting cannot stand in a line of it.
        """
        parts = (
            "#!/bin/bash\n# Written by `triptych`, which submits it; by hand: sbatch THIS_FILE",
            "\n".join(f"#SBATCH {line}" for line in self._options()),
            f"cd {shlex.quote(str(self.folder))} || exit",
            self.launcher.setup,
            self._training(),
            self._requeue() if self.launcher.requeue else None,
            'exit "$code"',
        )
        return "\n\n".join(part for part in parts if part) + "\n"

    def _options(self) -> list[str]:
        launcher = self.launcher
        valued = {
            "job-name": self.name, "nodes": launcher.nodes, "ntasks-per-node": launcher.devices,
            "gpus-per-node": launcher.devices if self.gpus else None, "cpus-per-task": launcher.cpus_per_task,
            "mem": launcher.memory, "time": launcher.time, "partition": launcher.partition,
            "account": launcher.account, "output": self._log(), "open-mode": "append",
            "signal": f"USR1@{launcher.signal_before}",
        }  # fmt: skip
        lines = [f"--{name}={_escaped(str(value))}" for name, value in valued.items() if value is not None]
        lines.append("--requeue" if launcher.requeue else "--no-requeue")
        if launcher.options:
            lines.append(launcher.options)
        for line in lines:
            if not line.isprintable():
                raise UserError(f"{line!r} cannot be said to sbatch: leave out line breaks and control characters")
        return lines

    def _log(self) -> str:
        return str(self.log.parent).replace("%", "%%") + f"/{self.log.name}"  # % begins a pattern

    def _training(self) -> str:
        # A process that ends must not take the others with it: they may be saving. One that dies is noticed by the
        # others (`triptych.parallel.watch`); should they all hang, srun ends them.
        options = ["--kill-on-bad-exit=0", f"--wait={self.patience}", "--distribution=block"]
        if self.launcher.cpus_per_task is not None:
            options.append(f"--cpus-per-task={self.launcher.cpus_per_task}")  # srun does not take sbatch's
        words = [shlex.join(["srun", *options]), shlex.join(self.program), *map(shlex.quote, self.words)]
        return (
            "# A signal that reaches this shell, too, is meant for the processes below; this is to outlive them.\n"
            "trap : TERM USR1\n" + " \\\n    ".join(words) + "\ncode=$?"
        )

    def _requeue(self) -> str:
        most = self.launcher.max_requeues
        return f"""\
# {LOST}: a process was lost; {_SIGNALLED} and above: a signal stopped the run, which saved (143), or killed a process.
# A job that was cancelled, or that SLURM itself is about to requeue, is no longer RUNNING.
restarts=${{SLURM_RESTART_COUNT:-0}}
if [ "$code" -eq {LOST} ] || [ "$code" -ge {_SIGNALLED} ]; then
    state=$(squeue --noheader --format=%T --jobs="$SLURM_JOB_ID")
    if [ "$state" != RUNNING ] && [ "$state" != SIGNALING ]; then
        echo "exit code $code; the job is ${{state:-not known}}: not requeued"
    elif [ "$restarts" -ge {most} ]; then
        echo "exit code $code; requeued $restarts times (launcher.max_requeues={most}): not requeued"
    else
        echo "exit code $code: requeued, $((restarts + 1)) of at most {most} times"
        scontrol requeue "$SLURM_JOB_ID"
    fi
fi"""


def _escaped(value: str) -> str:
    """As sbatch reads an option in a script: spaces end it and # begins a comment unless a backslash is before them."""
    return re.sub(r"([^\w./:@%+,=~-])", r"\\\1", value)
