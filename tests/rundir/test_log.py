"""Everything goes to run.log; the terminal sees what a user needs; adverts and secrets reach neither."""

import logging
import warnings
from pathlib import Path

import pytest
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.utilities import rank_zero_info

from triptych.rundir import Masking, RunLog


def test_who_gets_which_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.log"
    with RunLog(path, Masking({"MY_TOKEN": "abcdefgh"})), warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.getLogger("triptych.data").info("skipped cat.jpg, token abcdefgh")
        logging.getLogger("triptych.callbacks.checkpointing").info("saved step_0000005")
        rank_zero_info("GPU available: False")
        rank_zero_info("💡 Tip: For seamless cloud logging try litlogger")
        warnings.warn("the mean is odd", UserWarning, stacklevel=1)
        warnings.warn("does not have many workers", PossibleUserWarning, stacklevel=1)
        warnings.warn("old name", DeprecationWarning, stacklevel=1)
    shown = capsys.readouterr()
    assert shown.out.splitlines() == ["skipped cat.jpg, token ***", "warning: the mean is odd"]
    assert shown.err == ""
    written = path.read_text()
    for line in (
        "skipped cat.jpg, token ***",
        "saved step",
        "GPU available",
        "mean is odd",
        "many workers",
        "old name",
    ):
        assert line in written
    assert "Tip" not in written
    assert "abcdefgh" not in written
    logging.getLogger("triptych.data").info("after the run")
    assert "after the run" not in path.read_text()


def test_a_traceback_goes_to_the_file_with_its_secrets_masked(tmp_path: Path) -> None:
    with RunLog(tmp_path / "run.log", Masking({"MY_TOKEN": "abcdefgh"})):
        try:
            raise ValueError("abcdefgh")
        except ValueError:
            logging.getLogger("triptych.run").exception("it failed")
    written = (tmp_path / "run.log").read_text()
    assert "Traceback" in written
    assert "abcdefgh" not in written


def test_a_full_disk_costs_lines_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    """What it means for the run is told by what needs the disk more; logging would print a traceback for each line."""
    with RunLog(Path("/dev/full")):
        logging.getLogger("triptych.data").warning("skipped cat.jpg")
    shown = capsys.readouterr()
    assert shown.out == "warning: skipped cat.jpg\n"
    assert shown.err == ""
