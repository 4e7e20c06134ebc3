"""The logger numbers its rows by the trainer's steps, or by those that it is given."""

from pathlib import Path

import pytest

from triptych.callbacks.metrics import MetricsLogger


def test_without_a_trainer_a_step_is_needed(tmp_path: Path) -> None:
    logger = MetricsLogger(tmp_path / "metrics.csv")
    logger.log_metrics({"a": 1.0}, step=3)
    with pytest.raises(ValueError, match="step"):
        logger.log_metrics({"a": 1.0})
    assert logger.file.path.read_text() == "step,epoch,a\n3,,1.0\n"
    logger.file.close()
