"""The C library's memory of a training process on a CPU."""

import ctypes
import sys

# Numbers of glibc's mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_KEPT = 2**30
_PADDING = 2**26
_LARGEST_ON_HEAP = 2**25  # the most that glibc allows


def keep_freed_memory() -> bool:
    """Lets the process keep memory that it frees, up to a gigabyte, for its next step; whether that was possible.

    Each training step allocates the same activations anew. By default glibc may give them back to the kernel at every
    step and fetch them again page by page, each page zeroed: up to a tenth of the time of a step, or nothing, as the
    heap happens to lie. Does nothing where the C library is another.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {_MMAP_THRESHOLD: _LARGEST_ON_HEAP, _TRIM_THRESHOLD: _KEPT, _TOP_PAD: _PADDING}
    done = [mallopt(name, value) == 1 for name, value in settings.items()]
    return all(done)
