"""What is printed when a command fails: one message or a traceback, never a secret of the environment."""

import pytest

from triptych import cli
from triptych.command.start import told
from triptych.errors import UserError

SECRET = "hf_abcdefgh123"


def test_secrets_are_masked_in_messages(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    assert told(UserError(f"401 for {SECRET}")) == 2
    assert capsys.readouterr().err == "error: 401 for ***\n"


def test_a_fault_of_the_program_shows_its_traceback_without_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(words: list[str]) -> int:
        raise RuntimeError(f"401 for {SECRET}")

    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setattr(cli, "_dispatch", fail)
    assert cli.main(["train"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback (most recent call last):")
    assert printed.endswith("RuntimeError: 401 for ***\n")
    assert SECRET not in printed
