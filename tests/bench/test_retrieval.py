"""Retrieval stays within memory that is a fraction of the matrix of all scores."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "retrieval.py"


@pytest.mark.skipif(sys.platform != "linux", reason="the process's memory is read and limited as Linux does it")
def test_an_eighth_of_the_matrix_is_room_enough() -> None:
    """6,000 images and 30,000 captions: 687 MiB of scores, in a process that may not grow by more than 80."""
    command = [sys.executable, str(SCRIPT), "--images", "6000", "--dim", "16", "--limit", "80MiB", "--tile", "512"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert "matrix 687 MiB" in done.stdout
    shares = [float(share) for share in re.findall(r"recall at 1 (\d\.\d+)", done.stdout)]
    assert len(shares) == 2
    # A caption is nearer to its picture than chance, which is 1 in 6,000.
    assert all(share > 0.005 for share in shares)
