"""A disk that fills up or fails under a run: one message, exit code 2, and the last checkpoint named."""

import errno
import os
from pathlib import Path

import pytest

from triptych.callbacks.metrics_file import MetricsFile
from triptych.command.start import start

from .distributed.toy_runs import KINDS, LOOP, make_data

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_metrics_that_cannot_be_written_end_the_run_with_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    record = MetricsFile.record

    def refused(self: MetricsFile, step: int, metrics: dict[str, float]) -> None:
        if step == 4:
            raise OSError(number, os.strerror(number))
        record(self, step, metrics)

    monkeypatch.setattr(MetricsFile, "record", refused)
    words = [word.format(root=make_data(tmp_path)) for word in [*KINDS["images"], *LOOP]]
    assert start("train", [*words, f"output={tmp_path / 'out'}", "name=full", "checkpoint.every_steps=2"]) == 2
    message = capsys.readouterr().err
    (run,) = (tmp_path / "out" / "train" / "full").iterdir()
    assert f"error: the run cannot go on in {run}: {os.strerror(number)} (" in message
    assert f"MB are free). The last checkpoint is whole: {run / 'checkpoints' / 'step_0000002'}" in message
    assert "Traceback" not in message
