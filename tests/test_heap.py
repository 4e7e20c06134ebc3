"""A training step on a CPU fetches no page from the kernel that the step before it had."""

import resource
import subprocess
import sys

import pytest

STEPS = """
import resource, sys, torch
from triptych.heap import keep_freed_memory
if not keep_freed_memory():
    sys.exit(7)
def step():
    parts = [torch.ones(2**20 + 2**17 * number) for number in range(12)]  # 4 to 10 MB each
    return sum(part.sum() for part in parts)
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_steps_reuse_the_memory_of_the_step_before() -> None:
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, timeout=120)
    if done.returncode == 7:
        pytest.skip("the C library is not glibc")
    assert done.returncode == 0, done.stderr
    faults = int(done.stdout)
    touched = 10 * sum(4 * (2**20 + 2**17 * number) for number in range(12)) // resource.getpagesize()
    # With glibc's defaults nine tenths of the pages touched. Where a small allocation splits the heap at a bad place, a
    # tensor of some later step can need new pages once.
    assert faults < touched / 20
