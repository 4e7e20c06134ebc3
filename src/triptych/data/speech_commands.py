"""Google's Speech Commands, as its archive lays it out."""

import logging
import os
from pathlib import Path

from torch import Tensor

from triptych.data.files import read_sample_file, require_folder
from triptych.data.folder import files_in, other_files, visible_folders
from triptych.data.medium import Medium
from triptych.data.sound import Sounds
from triptych.data.split import check_split
from triptych.errors import UserError

log = logging.getLogger("triptych.data")

LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
"""Files of the archive that name the recordings of a split, one a line; all others are for training."""

ADDRESS = "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz"

_LAYOUT = Path("SpeechCommands", "speech_commands_v0.02")  # where torchaudio unpacks it
_FEWEST_WORDS = 2


class SpeechCommands:
    """Spoken words of one second at 16 kHz: 35 words in version 2 (Warden, 2018), one folder a word.

    The recordings of `validation_list.txt` and `testing_list.txt` are for validation and test, all others for
    training, so that no speaker is on two sides. Folders such as `_background_noise_` are no words.

    Args:
        root: the folder of the unpacked archive, or the one that torchaudio unpacked it into.
        split: `train`, `validation` or `test`.
        medium: how sounds are decoded; None: at 16 kHz.

    Raises:
        UserError: no such folder, no lists or words in it, or no recording of the split.
    """

    multilabel = False

    def __init__(self, root: str, split: str = "train", medium: Medium | None = None) -> None:
        check_split(split, 0.5)
        self.medium = medium or Sounds(16_000)
        base = require_folder(root, "folder of Speech Commands")
        if (base / _LAYOUT).is_dir():
            base = base / _LAYOUT
        words = [folder for folder in visible_folders(base) if not folder.name.startswith("_")]
        lists = {name: _listed(base / file) for name, file in LISTS.items()}
        if len(words) < _FEWEST_WORDS:
            raise UserError(
                f"{base.resolve()} has {len(words)} folders of words: unpack the archive there ({ADDRESS}, 2.3 GB)"
            )
        held = {path for paths in lists.values() for path in paths}
        self.classes = [folder.name for folder in words]
        self._files: list[str] = []
        self._labels: list[int] = []
        for label, folder in enumerate(words):
            for path in files_in(folder, self.medium.extensions):
                name = os.path.relpath(path, base).replace(os.sep, "/")
                if name not in held if split == "train" else name in lists[split]:
                    self._files.append(path)
                    self._labels.append(label)
        if not self._files:
            raise UserError(
                f"{base.resolve()} has no {self.medium.many} for the split {split!r}{other_files(words, self.medium)}"
            )
        if split != "train" and len(self._files) < len(lists[split]):
            log.warning(
                "%s: %d of the %d recordings of %s are not there", base, len(lists[split]) - len(self._files),
                len(lists[split]), LISTS[split],
            )  # fmt: skip

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        """Path of the recording."""
        return self._files[index]

    def read(self, index: int) -> tuple[Tensor, int]:
        """Waveform `(1, samples)` and word of sample `index`; BadSample where it cannot be read or decoded."""
        return self.medium.decode(self.encoded(index)), self.target(index)

    def encoded(self, index: int) -> bytes:
        """Bytes of the recording; BadSample where it cannot be opened."""
        return read_sample_file(self._files[index])

    def target(self, index: int) -> int:
        """Label of sample `index`."""
        return self._labels[index]


def _listed(path: Path) -> frozenset[str]:
    try:
        return frozenset(path.read_text(encoding="utf-8").split())
    except OSError as error:
        raise UserError(
            f"{path.parent.resolve()} has no {path.name}, which says what is held out: set data.root to the folder of "
            f"the unpacked archive of Speech Commands ({ADDRESS}, 2.3 GB; nothing is fetched on its own)"
        ) from error
