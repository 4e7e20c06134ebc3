"""Lightning's checkpoint plugin over our format: `Trainer(plugins=[FolderCheckpointIO()])`."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from torch import Tensor

from triptych.checkpoints.background import Background
from triptych.checkpoints.files import remove_folder
from triptych.checkpoints.find import find_checkpoint, is_checkpoint
from triptych.checkpoints.format import Packed, pack, read_checkpoint, write_packed, write_together
from triptych.errors import UserError


class FolderCheckpointIO(CheckpointIO):
    """Saves Lightning's checkpoint dict as a verified folder and reads it back equal; holds no pickle and runs no
    code.

    Args:
        rank: of this process among those that write together, each what it holds (`Part`s).
        world_size: how many write together; where a process holds everything, it writes alone.
        patience: seconds that the first one waits for the others.
        background: whether a save is written while training goes on; see `Background`.
    """

    def __init__(self, rank: int = 0, world_size: int = 1, patience: float = 600.0, background: bool = False) -> None:
        self._rank, self._world_size, self._patience = rank, world_size, patience
        self.background = Background(threaded=background)

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write `checkpoint` as the new folder `path`; durable when this returns, or in the background when
        `background.wait()` does.

        Raises:
            TypeError: `storage_options` given; there are none.
            UserError: see `write_checkpoint`.
        """
        if storage_options is not None:
            raise TypeError(f"checkpoint folders take no storage_options, got {storage_options!r}")
        self.background.wait()
        packed = pack(checkpoint)
        if self.background.threaded:
            packed = packed.copied()
        self.background.then(lambda: self._write(Path(path), packed))

    def _write(self, folder: Path, packed: Packed) -> None:
        if self._world_size == 1:
            write_packed(folder, packed)
        else:
            write_together(folder, packed, self._rank, self._world_size, self._patience)

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read the checkpoint that `path` means (a step folder, a link, a run directory), verified.

        Args:
            path: where.
            map_location: device for every tensor (a string or `torch.device`); None keeps them on CPU.
            weights_only: either value reads the same, since the format holds nothing but plain data.

        Raises:
            TypeError: `map_location` is neither a device nor None.
            UserError: a foreign file, no checkpoint, or a damaged one.
        """
        if map_location is not None and not isinstance(map_location, str | torch.device):
            raise TypeError(f"map_location must be a device or None, got {map_location!r}")
        path = Path(path)
        if path.is_file():
            raise UserError(
                f"{path} is a file; a run goes on from a Triptych checkpoint folder only "
                "(a run directory or checkpoints/step_...). "
                "Foreign weights are read by triptych.load; a pickle that needs code is never run"
            )
        checkpoint = read_checkpoint(find_checkpoint(path))
        return checkpoint if map_location is None else _moved(checkpoint, torch.device(map_location))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint folder; anything else is left alone.

        Raises:
            UserError: `path` is a link or no checkpoint folder.
        """
        path = Path(path)
        if path.is_symlink() or not is_checkpoint(path):
            raise UserError(f"{path} is no checkpoint folder; it is not removed")
        remove_folder(path)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return type(value)((key, _moved(item, device)) for key, item in value.items())
    if type(value) in (list, tuple):
        return type(value)(_moved(item, device) for item in value)
    return value
