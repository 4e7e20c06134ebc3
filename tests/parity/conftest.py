"""transformers, offline, whichever torchaudio there is."""

import os
from types import ModuleType

import pytest

from triptych.features.torchaudio_import import import_torchaudio

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# transformers imports torchaudio wherever there is one, and so must find it imported already: one that was built for
# another CUDA than torch could not be imported by itself.
import_torchaudio()


@pytest.fixture(scope="session")
def transformers() -> ModuleType:
    import transformers

    return transformers
