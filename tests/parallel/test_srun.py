"""What srun tells its tasks becomes what torchrun tells its workers."""

import os

import pytest

from triptych.command.start import start
from triptych.errors import UserError
from triptych.parallel.ranks import Ranks
from triptych.parallel.srun import adopt_srun, as_torchrun, first_host

TASK = {
    "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "2", "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_STEP_NODELIST": "gpu[07-08]", "SLURM_PROCID": "6", "SLURM_LOCALID": "2", "SLURM_NODEID": "1",
}  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("gpu[01-04,07],login1", "gpu01"), ("a1,b[1-2]", "a1"), ("node7", "node7"), ("r[2,4]c[1-3]", "r2c1"),
     ("gpu-a[001-128].example.org", "gpu-a001.example.org")],
)  # fmt: skip
def test_the_first_host_of_a_list(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def test_a_task_of_srun_is_a_worker_of_torchrun() -> None:
    found = as_torchrun(TASK)
    port = int(found.pop("MASTER_PORT"))
    assert 1024 < port < 32768
    assert found == {
        "RANK": "6", "WORLD_SIZE": "8", "LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "gpu07",
    }  # fmt: skip
    # All tasks of a step meet at one port; the next step and the next job have others.
    assert as_torchrun({**TASK, "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0"})["MASTER_PORT"] == str(
        port
    )
    others = {as_torchrun({**TASK, name: str(int(TASK[name]) + 1)})["MASTER_PORT"] for name in list(TASK)[:2]}
    assert len({str(port), *others}) == 3
    given = as_torchrun({**TASK, "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"})
    assert (given["MASTER_ADDR"], given["MASTER_PORT"]) == ("10.0.0.1", "29500")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"SLURM_STEP_TASKS_PER_NODE": "4(x2),3"}, r"started 4\(x2\),3 processes .* --ntasks-per-node"),
        ({"SLURM_LOCALID": "3"}, r"process 6 where process 7 belongs: .* --distribution=block"),
    ],
)
def test_tasks_that_are_shared_out_in_another_way_are_refused(change: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        as_torchrun({**TASK, **change})


def test_one_process_tells_what_is_wrong_with_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {**TASK, "SLURM_STEP_TASKS_PER_NODE": "5,3"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RANK", "")  # restored after the test
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert start("train", []) == 2
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert start("train", []) == 2
    assert "srun started 5,3 processes" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change", [{"WORLD_SIZE": "16"}, {"SLURM_STEP_NUM_TASKS": "1"}, {"SLURM_STEP_NUM_TASKS": None}]
)
def test_another_launcher_comes_first_and_a_batch_script_is_no_task(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, str | None]
) -> None:
    """torchrun may run under srun, one task a node; a shell of SLURM has SLURM_NTASKS and SLURM_PROCID, too."""
    monkeypatch.delenv("RANK", raising=False)
    for name, value in {**TASK, "SLURM_NTASKS": "8", **change}.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    before = dict(os.environ)
    adopt_srun()
    assert dict(os.environ) == before


def test_cores_that_a_task_has_to_itself_are_not_divided_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIPTYCH_CORES", as_torchrun({**TASK, "SLURM_CPUS_PER_TASK": "7"})["TRIPTYCH_CORES"])
    assert Ranks(6, 8, 2, 4).threads == 7
