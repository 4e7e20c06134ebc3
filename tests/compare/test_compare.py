"""`triptych compare` as a user types it: what it says of two runs, what it writes, and its exit code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from triptych.cli import main

HEADER = "step,epoch,train/loss,lr,grad_norm\n"
ROWS = ["1,0.1,2.5,0.001,1.25\n", "2,0.2,2.25,0.002,1.5\n", "3,0.3,2.125,0.003,nan\n"]
SUMMARY = {
    "status": "finished", "steps": 3, "command": "triptych train seed=0", "wall_seconds": 1.0,
    "device": {"name": "Some CPU, 2 cores", "threads": 1}, "versions": {"torch": "2.15.0", "timm": None},
}  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(
    name: str, rows: list[str] | None = ROWS, config: str = "seed: 0\n", summary: object = SUMMARY, header: str = HEADER
) -> Path:
    """A run directory as a training leaves it; None for a file that is not there."""
    run = Path("outputs/train") / name / "2026-01-01_12-00-00"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text(f"task: train\nname: {name}\noutput: {name}\n{config}")
    if rows is not None:
        (run / "metrics.csv").write_text(header + "".join(rows))
    if summary is not None:
        (run / "summary.json").write_text(json.dumps(summary))
    return run


def told(capsys: pytest.CaptureFixture[str], *words: str | Path, code: int) -> str:
    """What the command prints, after a look at its exit code."""
    assert main(["compare", *map(str, words)]) == code
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_runs_of_equal_numbers_are_equal_to_the_last_bit(capsys: pytest.CaptureFixture[str]) -> None:
    out = told(capsys, make("one"), make("two"), code=0)
    assert out.splitlines()[-1] == "equal to the last bit: 4 columns at 3 shared steps (1 to 3)"
    assert "settings (config.yaml): the same" in out
    assert "(summary.json): the same" in out
    assert "equal to the last bit: train/loss, grad_norm, lr, epoch" in out


def test_what_differs_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    other = [ROWS[0], "2,0.2,2.2500000000000004,0.002,1.5\n", "3,0.3,2.5,0.003,nan\n"]
    summary = SUMMARY | {"versions": {"torch": "2.16.0", "timm": None}, "wall_seconds": 2.0}
    out = told(capsys, make("one"), make("two", other, "seed: 7\n", summary), code=1)
    lines = out.splitlines()
    assert any(line.split() == ["seed", "0", "7"] for line in lines)
    assert any(line.split() == ["versions.torch", "2.15.0", "2.16.0"] for line in lines)
    assert "wall_seconds" not in out
    assert not any(line.startswith(("name", "output")) for line in lines)
    (row,) = (line.split() for line in lines if line.startswith("train/loss") and "step" in line)
    assert row == ["train/loss", "3", "step", "2", "2.25", "2.2500000000000004", "1.97e-16", "0.15", "3"]
    assert lines[-1] == (
        "different from step 2 on: train/loss is 2.25 and 2.2500000000000004; "
        "the largest relative difference is 0.15 (train/loss at step 3)"
    )


@pytest.mark.parametrize(("tolerance", "code"), [("0.149", 1), ("0.151", 0)])
def test_tolerance_decides_the_exit_code(tolerance: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = make("one"), make("two", [*ROWS[:2], "3,0.3,2.5,0.003,nan\n"])
    out = told(capsys, first, second, f"tolerance={tolerance}", code=code)
    assert ("equal within tolerance=0.151" in out) == (code == 0)
    assert "equal to the last bit: 4" not in out


@pytest.mark.parametrize("words", [["first={0}", "second={1}"], ["{0}", "second={1}"], ["first={0}", "{1}"]])
def test_runs_are_named_by_place_or_key(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    runs = make("a=b"), make("two")
    lines = told(capsys, *(word.format(*runs) for word in words), code=0).splitlines()
    assert lines[0].startswith(f"first   {runs[0]}")
    assert lines[1].startswith(f"second  {runs[1]}")


def test_a_run_that_is_still_written_is_compared_as_far_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    out = told(capsys, make("one"), make("two", [*ROWS[:2], "3,0.3,2.1"], summary=None), code=0)
    assert "not ended: it still runs, or was killed" in out
    assert "not compared" in out
    assert "only the first has 1 step (3)" in out
    assert out.splitlines()[-1] == "equal to the last bit: 4 columns at 2 shared steps (1 to 2)"


def test_a_resumed_run_is_not_taken_for_what_its_old_summary_says(capsys: pytest.CaptureFixture[str]) -> None:
    out = told(capsys, make("one"), make("two", summary=SUMMARY | {"steps": 2, "status": "stopped by SIGTERM"}), code=0)
    assert "stopped by SIGTERM" not in out
    assert "not ended" in out


def test_picture_and_json_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    first = make("one")
    second = make("two", [ROWS[0], ROWS[1].replace("1.5", "nan"), ROWS[2], "4,0.4,2.0,0.004,2.0\n"], "seed: 1\n")
    told(capsys, first, second, "picture=two.png", "json=two.json", code=1)
    with Image.open("two.png") as picture:
        assert picture.format == "PNG"
    facts = json.loads(Path("two.json").read_text())
    assert (facts["equal"], facts["equal_to_the_last_bit"], facts["shared_steps"]) == (False, False, [1, 2, 3])
    assert facts["steps_of_second_only"] == [4]
    assert facts["settings"] == [{"key": "seed", "first": 0, "second": 1}]
    assert facts["metrics"]["train/loss"]["first_difference"] is None
    assert facts["metrics"]["grad_norm"]["first_difference"] == {
        "step": 2, "first": 1.5, "second": "nan", "relative": "inf",
    }  # fmt: skip
    assert facts["final"]["first"]["grad_norm"] == {"step": 3, "value": "nan"}
    assert facts["final"]["second"]["grad_norm"] == {"step": 4, "value": 2.0}


AT = "outputs/train/{}/2026-01-01_12-00-00"
ONE = AT.format("one")
MISTAKES = {
    "no run": ([ONE, "outputs/train/nine"], "There is no run directory 'outputs/train/nine'"),
    "above it": ([ONE, "outputs/train/one"], "is not a run directory: it has no config.yaml. Run directories below"),
    "no metrics": ([ONE, AT.format("bare")], "has no metrics to compare: its metrics.csv is not there. Give a run of"),
    "no step yet": ([AT.format("new"), ONE], "has no metrics to compare: its metrics.csv holds no logged step yet."),
    "no shared step": (
        [ONE, AT.format("late")],
        f"the runs share no logged step: '{ONE}' has 3 from 1 to 3 and '{AT.format('late')}' has 1 from 10 to 10. "
        "Give runs that log the same ones (trainer.log_every)",
    ),
    "no shared metric": (
        [ONE, AT.format("other")],
        "the runs share no metric: one logged train/loss, lr, grad_norm and the other val/loss. Give two runs of the",
    ),
    "one run": ([ONE], "second is not set: give second=..."),
    "three runs": (
        [ONE, ONE, "tolerence"],
        "3 values are given for first and second, which are 2: `triptych compare FIRST SECOND [key=value ...]`",
    ),
    "three runs, by key": ([f"first={ONE}", f"second={ONE}", ONE], "3 values are given for first and second"),
    "a damaged summary": ([ONE, AT.format("damaged")], "summary.json is damaged: it holds no settings by name. Give a"),
    "a torn config": ([ONE, AT.format("torn")], "is no readable YAML: "),
    "a wrong tolerance": ([ONE, ONE, "tolerance=-1"], "tolerance=-1.0 is out of range: >= 0"),
    "a wrong picture": ([ONE, ONE, "picture=two.pdf"], "picture=two.pdf is no name of a .png file: give one"),
    "a folder": ([ONE, ONE, "json=outputs"], "json=outputs is no name of a file: give one"),
    "no such folder": ([ONE, ONE, "json=there/two.json"], "json=there/two.json: there is no folder 'there'. Make it"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_ends_with_one_message_and_code_2(case: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make("one")
    make("bare", rows=None)
    make("new", rows=[])
    make("late", rows=["10,1.0,2.0,0.1,1.0\n"])
    make("other", rows=["1,0.1,2.0\n"], header="step,epoch,val/loss\n")
    make("damaged", summary=[1])
    make("torn", config="seed: [0\n")
    words, message = MISTAKES[case]
    before = sorted(here.rglob("*"))
    assert main(["compare", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert sorted(here.rglob("*")) == before


def test_no_torch_is_imported() -> None:
    code = "import sys, triptych.compare.run; print('torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "False"
