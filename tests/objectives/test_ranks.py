"""Two processes train as one does, also when one of them has more samples than the other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("two_ranks.py")


def run(ranks: int, output: Path, *more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, str(SCRIPT), str(ranks), str(output), *more]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("last_batch", ["whole", "short"])
def test_uneven_ranks_and_micro_batches_train_as_one_process(tmp_path: Path, last_batch: str) -> None:
    """Also where a short last batch leaves one rank without a sample."""
    results = []
    for ranks in (1, 2):
        done = run(ranks, tmp_path / str(ranks), last_batch)
        assert done.returncode == 0, done.stderr
        results.append(torch.load(tmp_path / str(ranks), weights_only=True))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_nan_on_one_rank_stops_both_with_the_same_message(tmp_path: Path) -> None:
    done = run(2, tmp_path / "never", "nan")
    assert done.returncode != 0
    # The loss of rank 0 itself is a number.
    assert "[rank0]: triptych.errors.TrainingFault: the loss is nan at step 2" in done.stderr
    assert not (tmp_path / "never").exists()
