"""`triptych finetune` in several processes, which it starts itself."""

from pathlib import Path

import pytest

from triptych.command.start import start

from .toy_runs import LOOP, make_data, trace, train, worst

pytestmark = pytest.mark.slow


def test_finetune_in_two_processes_is_that_of_one(tmp_path: Path) -> None:
    """The settings that it works out from the weights are found in each process."""
    data = make_data(tmp_path / "data")
    weights = train("images", data, tmp_path, 1, "trainer.max_steps=1")
    words = [
        f"weights={weights}", f"data.root={data}/tiles", "data.batch_size=10", *LOOP, "trainer.max_steps=3",
        f"output={tmp_path}",
    ]  # fmt: skip
    assert start("finetune", words) == 0
    assert start("finetune", [*words, "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"]) == 0
    one, two = sorted((tmp_path / "finetune" / "folder").iterdir())
    assert worst(trace(one), trace(two), "train/loss", "grad_norm") < 1e-5
