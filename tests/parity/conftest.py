"""transformers, offline and without the audio library that it would import."""

import os
import sys
from types import ModuleType
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def transformers() -> ModuleType:
    """The library. It imports torchaudio wherever there is one, even one built for another CUDA than torch, which
    cannot be imported; nothing here needs it.
    """
    from transformers.utils import import_utils

    import_utils.is_torchaudio_available.cache_clear()  # somebody else may have asked before
    modules: dict[str, Any] = sys.modules
    known = modules.get("torchaudio")
    modules["torchaudio"] = None
    try:
        import transformers.audio_utils  # the one place that every model leads to
    finally:
        modules.pop("torchaudio")
        if known is not None:
            modules["torchaudio"] = known
    return transformers
