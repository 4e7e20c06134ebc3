"""Two processes measure as one does, to the last bit, on sets that they cannot share evenly."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import triptych
from triptych.command.start import start

from ..zero_shot.conftest import World, small_pair  # noqa: F401: a fixture
from ..zero_shot.test_zero_shot import PAIRS

TRIPTYCH = "import sys; from triptych.cli import main; sys.exit(main())"


@pytest.mark.slow
def test_two_processes_equal_one_bit_for_bit(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """11 pictures in batches of 4, one of them broken; classes, captions, probes and texts are shared, too."""
    monkeypatch.chdir(tmp_path)
    triptych.export(small_pair().eval(), tmp_path / "pair")
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "mine.yaml").write_text(PAIRS)
    table = "".join(
        f"{line},{Path(line.partition(',')[0]).parent.name if line[0] == 'p' and number else 'colour'}\n"
        for number, line in enumerate(world.table.read_text().splitlines())
    )
    (tmp_path / "captions.csv").write_text(table)
    pictures = tmp_path / "pictures"
    pictures.symlink_to(world.pictures)
    settings = [
        f"checkpoint={tmp_path / 'pair'}", "data=mine", "data.workers=0", f"data.root={tmp_path}", "sets=[train]",
        "data.train.concept=colour", "data.train.split_column=null", "device.accelerator=cpu", "device.threads=1",
        "resamples=50", "probe=true", "shots=[1]", "draws=2", "templates=emoji",
    ]  # fmt: skip
    threads = torch.get_num_threads()
    assert start("zero_shot", [*settings, "output=one"]) == 0
    torch.set_num_threads(threads)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-c", TRIPTYCH, "zero_shot", *settings, "output=two", "devices=2"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    one, two = (next((tmp_path / each).glob("zero_shot/*/*")) for each in ("one", "two"))
    for file in ("predictions.csv", "per_class.csv"):
        assert (one / file).read_bytes() == (two / file).read_bytes()
    numbers = [json.loads((each / "summary.json").read_text()) for each in (one, two)]
    assert numbers[0]["sets"] == numbers[1]["sets"]
    assert {"classification", "retrieval", "probes"} <= numbers[0]["sets"]["train"].keys()
    assert [each["device"]["count"] for each in numbers] == [1, 2]
    assert done.stdout.count("image_to_text_recall_at_10") == 1, "one process speaks"
