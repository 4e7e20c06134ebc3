"""Loading by the library `datasets`, which is kept from the network for a folder, and from counting downloads."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from triptych.errors import UserError

_SAVED = ("dataset_dict.json", "state.json")
"""Files that `save_to_disk` writes: of several splits, and of one."""


def load_set(root: Path | None, hub: str | None, subset: str | None) -> Any:
    """A data set, or its splits by name: of the folder `root`, else the part `subset` of the hub's set `hub`.

    Raises UserError where the library is missing, or the set cannot be loaded.
    """
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise UserError("data=datasets needs the package datasets: pip install 'triptych[datasets]'") from error
    with _as_asked(offline=root is not None):
        try:
            if root is None:
                return datasets.load_dataset(str(hub), subset)
            if any((root / name).is_file() for name in _SAVED):
                return datasets.load_from_disk(str(root))
            # Absolute: a bare name such as `parquet` means one of the library's own loaders to it.
            return datasets.load_dataset(str(root.resolve()), subset)
        except Exception as error:  # a foreign loader on foreign files: whatever it raises, the set cannot be read
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise UserError(f"the data set {root or hub} cannot be loaded: {reason}") from error


@contextmanager
def _as_asked(offline: bool) -> Iterator[None]:
    """The library as a guest: no progress bars, no count of downloads, and for a local folder no network at all."""
    import datasets
    import huggingface_hub.constants as hub
    from datasets import config

    changed = [(config, "HF_UPDATE_DOWNLOAD_COUNTS", False)]
    if offline:
        changed += [(module, "HF_HUB_OFFLINE", True) for module in (config, hub)]
    before = [(module, name, getattr(module, name)) for module, name, _ in changed]
    bars = datasets.are_progress_bars_disabled()
    for module, name, value in changed:
        setattr(module, name, value)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
        if not bars:
            datasets.enable_progress_bars()
