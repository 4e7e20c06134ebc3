"""The script of a SLURM job: what its processes are given, and when it asks to be started again."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from triptych.command import groups, messages
from triptych.command.slurm import BatchJob
from triptych.command.start import start
from triptych.errors import TrainingFault, UserError
from triptych.parallel.launch import LOST
from triptych.schema import register
from triptych.schema.launcher import Slurm

SRUN = r"""#!/bin/bash
while [[ $1 == --* ]]; do shift; done
printf '%s\0' "$@" > "$FAKE/given"
kill -USR1 $PPID
exit "$CODE"
"""
SCONTROL = '#!/bin/bash\necho "$@" > "$FAKE/scontrol"\n'
SQUEUE = '#!/bin/bash\necho "$STATE"\n'


def program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with SLURM's programs for a script in `bin`, but for sbatch."""
    (tmp_path / "my work").mkdir()
    monkeypatch.chdir(tmp_path / "my work")
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("squeue", SQUEUE)):
        program(tmp_path / "bin" / name, text)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    yield tmp_path
    groups.choices.cache_clear()  # those of this folder are not those of the next test


def written(*words: str) -> Path:
    """The one new script that the words leave."""
    before = set(Path.cwd().glob("*/slurm/*.sh"))
    assert start("train", ["launcher=slurm", *words]) == 0
    (file,) = set(Path.cwd().glob("*/slurm/*.sh")) - before
    return file


def run(file: Path, here: Path, code: int = 0, state: str = "RUNNING", restarts: int | None = None) -> tuple[int, bool]:
    """Runs a script as SLURM does; its exit code, and whether it asked to be started again."""
    environment = {**os.environ, "FAKE": str(here), "CODE": str(code), "STATE": state, "SLURM_JOB_ID": "4711"}
    if restarts is not None:
        environment["SLURM_RESTART_COUNT"] = str(restarts)
    (here / "scontrol").unlink(missing_ok=True)
    done = subprocess.run([file], env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert done.stderr == ""
    asked = (here / "scontrol").exists()
    assert not asked or (here / "scontrol").read_text() == "requeue 4711\n"
    return done.returncode, asked


def test_processes_are_given_what_was_typed_letter_for_letter(here: Path) -> None:
    typed = [
        "data=folder", "data.root=/my pictures/it's \"$HOME\" `x` \\ *.png\n$(touch gone)", "optimizer.lr=1e-3",
        "name=Größe 😀", "data.workers=0", "~ema",
    ]  # fmt: skip
    file = written(*typed, "launcher.nodes=2")
    assert run(file, here) == (0, False)
    given = (here / "given").read_text().split("\0")[:-1]
    assert given == [sys.executable, "-m", "triptych", "train", *typed, "launcher=null"]
    assert not list(here.rglob("gone"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o700
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", file], check=True)


def job(here: Path, gpus: bool = True, **settings: Any) -> BatchJob:
    launcher = Slurm(**settings)
    return BatchJob(
        launcher, "emoji", ["python", "-m", "x"], ["a=1"], here / "w %", here / "o %" / "l_%j.log", gpus, 160
    )


def saved(batch: BatchJob, here: Path) -> Path:
    """The script in a file."""
    batch.folder.mkdir(exist_ok=True)
    program(here / "bin" / "job.sh", batch.script())
    return here / "bin" / "job.sh"


def test_what_is_asked_of_the_cluster(here: Path) -> None:
    lines = job(
        here, nodes=2, devices=8, cpus_per_task=6, memory="64G", time="1-12:00:00", partition="gpu", account="vision",
        signal_before=300, options="--constraint=a100 --exclusive", setup="module load cuda",
    ).script().splitlines()  # fmt: skip
    assert [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")] == [
        "--job-name=emoji", "--nodes=2", "--ntasks-per-node=8", "--gpus-per-node=8", "--cpus-per-task=6",
        "--mem=64G", "--time=1-12:00:00", "--partition=gpu", "--account=vision", f"--output={here}/o\\ %%/l_%j.log",
        "--open-mode=append", "--signal=USR1@300", "--requeue", "--constraint=a100 --exclusive",
    ]  # fmt: skip
    assert lines.index("module load cuda") < lines.index(
        "srun --kill-on-bad-exit=0 --wait=160 --distribution=block --cpus-per-task=6 \\"
    )


def test_without_gpus_and_without_requeue(here: Path) -> None:
    text = job(here, gpus=False, requeue=False).script()
    assert "--gpus-per-node" not in text
    assert "#SBATCH --no-requeue" in text
    assert "scontrol" not in text


def test_a_setting_that_would_be_a_line_of_its_own_is_refused(here: Path) -> None:
    with pytest.raises(UserError, match=r"--partition=a.*leave out line breaks"):
        job(here, partition="a\nrm -r /").script()


@pytest.mark.parametrize(
    ("code", "state", "restarts", "again"),
    [
        (143, "RUNNING", None, True),  # saved before the time limit, or before a pre-emption
        (143, "SIGNALING", 1, True),
        (LOST, "RUNNING", 0, True),  # a process was lost, and the others have named it
        (137, "RUNNING", 2, True),  # and it was killed
        (143, "COMPLETING", 0, False),  # cancelled
        (143, "", 0, False),
        (143, "RUNNING", 3, False),
        (0, "RUNNING", 0, False),
        (1, "RUNNING", 0, False),
        (UserError.exit_code, "RUNNING", 0, False),
        (TrainingFault.exit_code, "RUNNING", 0, False),
    ],
)
def test_when_a_job_is_requeued(here: Path, code: int, state: str, restarts: int | None, again: bool) -> None:
    assert run(saved(job(here, max_requeues=3), here), here, code, state, restarts) == (code, again)


@pytest.mark.slow
def test_a_sweep_makes_a_script_for_each_job(here: Path) -> None:
    assert start("train", ["-m", "launcher=slurm", "seed=1,2", "optimizer=adamw", "data.root=/a b", "data=folder"]) == 0
    given = []
    for file in sorted(Path.cwd().glob("*/slurm/*.sh")):
        assert run(file, here) == (0, False)
        given.append((here / "given").read_text().split("\0")[4:-1])
    assert [[word for word in words if word.startswith("seed")] for words in given] == [["seed=1"], ["seed=2"]]
    assert all({"optimizer=adamw", "data.root='/a b'", "launcher=null"} <= set(words) for words in given)
    assert not any("launcher=slurm" in words or "-m" in words for words in given)


@pytest.mark.slow
def test_sbatch_gets_the_script_and_its_word_is_passed_on(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE", str(here / "submitted"))
    program(here / "bin" / "sbatch", '#!/bin/bash\nprintf "%s\\n" "$@" > "$FAKE"\necho "4711;cluster"\n')
    file = written()
    assert (here / "submitted").read_text().split("\n") == ["--parsable", str(file), ""]
    printed = capsys.readouterr().out
    assert f"submitted job 4711: {file}; what it prints goes to {file.with_suffix('')}_4711.log" in printed
    (here / "submitted").unlink()
    file = written("launcher.dry_run=true")
    assert f"wrote {file}; not submitted (launcher.dry_run=true): sbatch '{file}'" in capsys.readouterr().out
    assert not (here / "submitted").exists()
    program(here / "bin" / "sbatch", "#!/bin/bash\necho 'invalid partition: gpu' >&2\nexit 1\n")
    assert start("train", ["launcher=slurm"]) == 2
    assert "invalid partition: gpu" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_goes_on_as_a_job(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    register()
    config = messages.compose_plain("train", ["data=folder", "data.root=x", "name=small"])
    saved = Path("outputs/train/small/1")
    saved.mkdir(parents=True)
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    (saved / "config.yaml").write_text(json.dumps({key: value for key, value in plain.items() if key != "launcher"}))
    file = written(f"resume={saved}", "launcher.devices=2", "trainer.epochs=30")
    assert run(file, here) == (0, False)
    assert (here / "given").read_text().split("\0")[4:-1] == [f"resume={saved}", "trainer.epochs=30"]
    assert start("train", [f"resume={saved}", "launcher=slurm", "launcher.device=2"]) == 2
    assert "Did you mean 'launcher.devices'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainer=ddp", "trainer.devices=8"], r"say launcher.devices=8"),
        (["logger=own"], r"logger._target_ is not set"),
        (["launcher.partition=a\nb"], r"leave out line breaks"),
        (
            ["logger=own", "logger._target_=mine.Log", "logger.api_key=secret"],
            r"put it into the environment.*logger.api_key='\$\{oc.env:API_KEY\}'",
        ),
        (["output=/proc/none"], r"no script can be written in '/proc/none/slurm'"),
    ],
)
def test_mistakes_are_told_before_anything_is_submitted(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    (here / "my work" / "conf" / "logger").mkdir(parents=True)
    (here / "my work" / "conf" / "logger" / "own.yaml").write_text(
        "# mine\ndefaults: [/schema/own@_here_]\napi_key: x\n"
    )
    groups.choices.cache_clear()
    assert start("train", ["launcher=slurm", *words]) == 2
    assert re.search(message, capsys.readouterr().err, re.DOTALL)
    assert not list(here.rglob("*.sh"))


@pytest.mark.slow
def test_a_process_of_a_job_submits_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert start("train", ["launcher=slurm"]) == 2
    assert "one of the processes of a job" in capsys.readouterr().err
