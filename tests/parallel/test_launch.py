"""How the processes of a job end together, and what is told of it."""

import os
import sys
import time
from pathlib import Path

import pytest

from triptych.errors import UserError
from triptych.parallel.launch import LOST, RANK, launch, shared


def rank() -> int:
    return int(os.environ[RANK])


def write_to(file: Path) -> None:
    """The processes are forked from one that has the first test's standard error."""
    sys.stderr = open(file, "a")  # noqa: SIM115


def first_is_wrong(given: tuple[float, Path]) -> int:
    seconds, file = given
    write_to(file)
    if rank() == 0:
        raise UserError("a mistake of the first")
    time.sleep(seconds)
    return LOST


def all_are_wrong(given: tuple[float, Path]) -> int:
    seconds, file = given
    write_to(file)
    time.sleep(seconds * rank())
    raise shared(UserError("a mistake of all"))


def all_save(seconds: float) -> int:
    time.sleep(seconds * rank())
    return 143


def second_is_killed(seconds: float) -> int:
    if rank() == 1:
        os.kill(os.getpid(), 9)
    time.sleep(seconds)
    return 0


@pytest.mark.parametrize("seconds", [0.5, 60.0])
def test_who_waits_for_one_that_told_its_error_is_ended(seconds: float, tmp_path: Path) -> None:
    """At once, and whatever it makes of the silence: the error is the one that was told."""
    start = time.monotonic()
    assert launch(first_is_wrong, (seconds, tmp_path / "told"), 2) == UserError.exit_code
    assert time.monotonic() - start < 30
    assert (tmp_path / "told").read_text() == "error: a mistake of the first\n"


def test_what_all_raise_is_told_once(tmp_path: Path) -> None:
    assert launch(all_are_wrong, (0.3, tmp_path / "told"), 3) == UserError.exit_code
    assert (tmp_path / "told").read_text() == "error: a mistake of all\n"


def test_those_that_save_are_waited_for() -> None:
    assert launch(all_save, 3.0, 2) == 143


def test_one_that_is_killed_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    start = time.monotonic()
    assert launch(second_is_killed, 60.0, 2) == 137
    assert time.monotonic() - start < 30
    assert "error: rank 1 (process " in (message := capfd.readouterr().err)
    assert "was killed by SIGKILL" in message
