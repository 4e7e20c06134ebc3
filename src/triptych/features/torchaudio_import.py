"""torchaudio, where it can be had."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch

from triptych.errors import UserError


def import_torchaudio() -> ModuleType:
    """torchaudio's functions that are made of torch's: resampling, effects, data sets.

    torchaudio refuses to be imported beside a torch of another CUDA version, for the sake of its own kernels. What is
    used here has none, so that check alone is passed over.

    Raises UserError where torchaudio is missing or cannot be loaded.
    """
    try:
        with _without_cuda_version():
            import torchaudio
            import torchaudio.functional
    except (ImportError, OSError, RuntimeError) as error:
        raise UserError(
            f"torchaudio cannot be loaded ({error}); install the one that belongs to torch {torch.__version__}: "
            "pip install torchaudio"
        ) from error
    return torchaudio


@contextmanager
def _without_cuda_version() -> Iterator[None]:
    """torchaudio compares versions only where torch names one."""
    version = torch.version.cuda
    torch.version.cuda = None  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        torch.version.cuda = version  # pyright: ignore[reportAttributeAccessIssue]
