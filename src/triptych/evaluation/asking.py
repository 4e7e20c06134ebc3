"""Asking a model about single files: an image at once, a long recording in windows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from triptych.data.medium import Medium, Pictures
from triptych.data.sound import Sounds
from triptych.evaluation.given import GivenModel
from triptych.evaluation.inference import Forward
from triptych.evaluation.told import Told
from triptych.features.audio_preprocess import AudioPreprocess


class Piece(NamedTuple):
    """What a model takes at a time: an image `(channels, height, width)` or a window `(1, samples)`, its start and its
    length in seconds, which are None for an image.
    """

    sample: Tensor
    start: float | None = None
    seconds: float | None = None


class Asked(NamedTuple):
    """A file, by name, and the pieces of it."""

    name: str
    pieces: list[Piece]


@dataclass(frozen=True)
class Reading:
    """How files are read for a model.

    Attributes:
        medium: what they hold.
        preprocess: what the model wants of it.
        hop_seconds: from window to window of a long recording; None: half a window.
    """

    medium: Medium
    preprocess: Any
    hop_seconds: float | None = None

    def pieces(self, data: bytes) -> list[Piece]:
        """What the model takes of a file's content; BadSample where it cannot be read."""
        decoded = self.medium.decode(data)
        if not isinstance(self.preprocess, AudioPreprocess):
            return [Piece(self.preprocess.cut(decoded))]
        rate = self.preprocess.sample_rate
        windows = self.preprocess.windows(decoded, self.hop_seconds)
        return [Piece(window, start, window.shape[1] / rate) for start, window in windows]


def reading_of(given: GivenModel, hop_seconds: float | None = None) -> Reading:
    """How files are read for a model."""
    wanted = given.preprocess
    if isinstance(wanted, AudioPreprocess):
        return Reading(Sounds(wanted.sample_rate, least_seconds=wanted.min_seconds), wanted, hop_seconds)
    return Reading(Pictures(len(wanted.mean)), wanted)


def answers(
    batch: Sequence[Asked], forward: Forward, given: GivenModel, names: list[str], settings: dict[str, Any]
) -> Iterator[Told]:
    """What the model says of each file: the mean of the probabilities of its pieces, or with `over_time` each piece by
    itself, named by its time.
    """
    pieces = [piece for asked in batch for piece in asked.pieces]
    size = settings["batch_size"]
    logits = torch.cat(
        [
            forward(given.preprocess.batch([piece.sample for piece in pieces[start : start + size]]))
            for start in range(0, len(pieces), size)
        ]
    ).double()
    probabilities = logits.sigmoid() if given.multi_label else logits.softmax(dim=-1)
    least = settings["threshold"] if given.multi_label else 0.0
    top = min(settings["top"], len(names))
    for asked, rows in zip(batch, probabilities.split([len(each.pieces) for each in batch]), strict=True):
        if settings["over_time"]:
            for piece, row in zip(asked.pieces, rows, strict=True):
                yield Told(_timed(asked.name, piece), _best(row, names, top, least))
        else:
            yield Told(asked.name, _best(rows.mean(0), names, top, least))


def _best(row: Tensor, names: list[str], top: int, least: float) -> tuple[tuple[str, float], ...]:
    best, places = row.topk(top)
    pairs = zip(places.tolist(), best.tolist(), strict=True)
    return tuple((names[place], value) for place, value in pairs if value >= least)


def _timed(name: str, piece: Piece) -> str:
    if piece.start is None or piece.seconds is None:
        return name
    return f"{name} {piece.start:.2f}-{piece.start + piece.seconds:.2f} s"
