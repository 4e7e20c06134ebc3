"""Shipped files are found, and a missing one is named."""

import pytest

from triptych.paths import resource


def test_resource_finds_what_ships() -> None:
    assert (resource("conf") / "train.yaml").is_file()
    assert (resource("tasks") / "train.py").is_file()


def test_missing_resource_names_both_places() -> None:
    with pytest.raises(FileNotFoundError, match=r"data/unicorns is neither in .*shipped nor in .*: reinstall triptych"):
        resource("data/unicorns")
