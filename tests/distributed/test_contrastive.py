"""Several processes get the gradients of one, in each way of sharing a contrastive loss."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

HERE = Path(__file__).parent


def run(script: str, processes: int, output: Path, *more: str) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, str(HERE / script), str(processes), str(output), *more]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return torch.load(output, weights_only=True)


@pytest.fixture(scope="module", params=[2, 3])
def processes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run("contrastive_ranks.py", request.param, tmp_path_factory.mktemp("ranks") / "found")


@pytest.mark.slow
def test_every_parameter_gets_the_gradient_of_one_process(processes: dict[str, Any]) -> None:
    """Each loss, exchange, number of cached micro-batches and division of the samples, and a group that is not all
    processes: towers, projections, scale and bias, and the loss itself.
    """
    assert len(processes) >= 7 * 5
    for case, (expected, found) in processes.items():
        assert expected.keys() == found.keys()
        for name, wanted in expected.items():
            # Some gradients are nothing but rounding: that of a bias before a softmax.
            assert (found[name] - wanted).norm() <= 1e-6 * wanted.norm() + 1e-12, (case, name)
        assert all(expected[name].any() for name in ("logit_scale", "towers.image.projection.weight")), case


@pytest.mark.slow
def test_training_and_validation_with_ddp_equal_one_process(tmp_path: Path) -> None:
    """Uneven shards, one of them empty, gradient caching, clipping and the clamp; retrieval and classification."""
    one, *more = (run("contrastive_run.py", processes, tmp_path / str(processes)) for processes in (1, 2))
    assert len(one) == 3
    for case, wanted in one.items():
        assert {"train/loss", "logit_scale", "grad_norm", "val/recall_at_1", "val/loss", "classes/accuracy"} < set(
            wanted
        )
        for found in more:
            assert found[case].keys() == wanted.keys()
            for name, value in wanted.items():
                close = (found[case][name] - value).norm() <= 1e-6 * value.double().norm() + 1e-9
                assert close, (case, name, found[case][name], value)
