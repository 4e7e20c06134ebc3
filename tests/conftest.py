"""Shapes and types are checked at run time here, and only here: importing this hook before the library arms it."""

import os

# Tests run in a process for each core: OpenMP pools that spin against each other would make one minutes long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
from jaxtyping import install_import_hook

CHECKED = [
    f"triptych.{room}"
    for room in (
        "nn",
        "losses",
        "towers",
        "models",
        "data",
        "checkpoints",
        "optim",
        "parallel",
        "objectives",
        "analysis",
    )
]
install_import_hook(CHECKED, "beartype.beartype")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    """Folder of larger real data sets that live beside the checkout; the test skips where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no shared data at {SHARED_DATA}")
    return SHARED_DATA


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, lest one process run them while the others are done; tests marked gpu skip
    where there is no CUDA device.
    """
    import torch

    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
