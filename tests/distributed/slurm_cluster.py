"""SLURM's programs as its manuals describe them, on one machine: what a job's script meets, without a cluster."""

import os
import re
import subprocess
import sys
from pathlib import Path

# Each task in a session of its own, as the daemon on a node starts it; the highest exit code of all.
SRUN = f"""#!{sys.executable}
import os, subprocess, sys
words = sys.argv[1:]
while words[0].startswith("--"):
    words.pop(0)
nodes, each = os.environ["SLURM_JOB_NODELIST"].split(","), int(os.environ["SLURM_NTASKS_PER_NODE"])
step = {{
    "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": ",".join(nodes), "SLURM_STEP_NUM_TASKS": str(each * len(nodes)),
    "SLURM_STEP_TASKS_PER_NODE": f"{{each}}(x{{len(nodes)}})",
}}
tasks = [
    subprocess.Popen(
        words, start_new_session=True, env={{
            **os.environ, **step, "SLURM_PROCID": str(node * each + local), "SLURM_LOCALID": str(local),
            "SLURM_NODEID": str(node),
        }},
    )
    for node in range(len(nodes)) for local in range(each)
]
with open(os.environ["FAKE_SLURM"] + "/tasks.part", "w") as file:
    file.write(" ".join(str(task.pid) for task in tasks))
os.rename(file.name, os.environ["FAKE_SLURM"] + "/tasks")
codes = [task.wait() for task in tasks]
sys.exit(max(128 - code if code < 0 else code for code in codes))
"""
SBATCH = '#!/bin/bash\n[[ $1 == --parsable ]] && echo "$2" > "$FAKE_SLURM/submitted" && echo 4711\n'
SCONTROL = '#!/bin/bash\n[[ $1 == requeue ]] && echo "$2" > "$FAKE_SLURM/requeued"\n'
SQUEUE = "#!/bin/bash\necho RUNNING\n"


class Cluster:
    """Two nodes that are this machine.

    Args:
        folder: where its programs and its notes are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "bin"
        self.programs.mkdir(parents=True)
        for name, text in (("srun", SRUN), ("sbatch", SBATCH), ("scontrol", SCONTROL), ("squeue", SQUEUE)):
            (self.programs / name).write_text(text)
            (self.programs / name).chmod(0o755)
        self.environment = {"FAKE_SLURM": str(folder), "PATH": f"{self.programs}:{os.environ['PATH']}"}

    def run(self, restarts: int = 0) -> subprocess.Popen[bytes]:
        """Starts the job that was submitted, as one that was requeued so many times; what it prints is added to its
        log.
        """
        script = Path((self.folder / "submitted").read_text().strip())
        said = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", script.read_text(), re.MULTILINE))
        assert said["nodes"] == "2"
        for note in ("requeued", "tasks"):
            (self.folder / note).unlink(missing_ok=True)
        job = {
            "SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "localhost,127.0.0.1", "SLURM_NTASKS": "2",
            "SLURM_PROCID": "0",
            "SLURM_NTASKS_PER_NODE": said["ntasks-per-node"],
        }  # fmt: skip
        if restarts:
            job["SLURM_RESTART_COUNT"] = str(restarts)
        with self.log.open("ab") as log:
            return subprocess.Popen([script], cwd="/", env={**os.environ, **self.environment, **job}, stdout=log,
                                    stderr=log, start_new_session=True)  # fmt: skip

    @property
    def log(self) -> Path:
        """What the job printed."""
        return self.folder / "log"

    @property
    def tasks(self) -> list[int]:
        """The processes of the training, once all are started."""
        notes = self.folder / "tasks"
        return [int(each) for each in notes.read_text().split()] if notes.exists() else []

    def signal(self, number: int) -> None:
        """To all tasks and what they have started, and not to the script: what `--signal=USR1@...` does."""
        for each in self.tasks:
            os.killpg(each, number)

    @property
    def requeued(self) -> bool:
        """Whether the job asked for it."""
        return (self.folder / "requeued").exists()
