"""`triptych statistics`: mean and deviation of the log-mel values of sounds, which `data.front_end` is then given."""

import logging
from collections.abc import Iterator
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from triptych.analysis.mel_statistics import mel_statistics
from triptych.build import RUN_PACKAGES, build
from triptych.callbacks import words
from triptych.data.audio import AudioData
from triptych.data.collation import Clips
from triptych.data.loader import BadSamples, StepLoader
from triptych.data.order import Order
from triptych.errors import UserError
from triptych.evaluation.common import Progress, print_rows
from triptych.features.waveforms import Waveforms

log = logging.getLogger("triptych.statistics")

_BATCH = 32


def statistics(config: DictConfig) -> int:
    """Measures the training sounds that `config` (the schema's `Statistics`) names; the exit code.

    Raises:
        UserError: data that are no sounds, none that can be read, or what their settings are refused for.
    """
    settings: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    data = build(settings["data"] | {"cache": False}, (*RUN_PACKAGES, *settings["allow_targets"]))
    if not isinstance(data, AudioData):
        raise UserError(
            "data are no sounds, and statistics are those of spectrograms: choose sounds, such as data=audio_folder"
        )
    with Progress("listening", True) as progress:
        found = mel_statistics(_batches(data, progress), data.front_end)
    print_rows(
        [
            ("mean", f"{found.mean:.4f}"),
            ("standard deviation", f"{found.std:.4f}"),
            ("sounds", f"{found.clips:,}, {words.duration(found.seconds)}"),
            ("train with", f"data.front_end.mean={found.mean:.4f} data.front_end.std={found.std:.4f}"),
        ]
    )
    return 0


def _batches(data: AudioData, progress: Any) -> Iterator[Waveforms]:
    """Every training sound once, the middle of those that are longer than `data.max_seconds`."""
    source = data.train_source
    bad = BadSamples(len(source), data.max_bad_fraction)
    order = Order(len(source), _BATCH, shuffle=False)
    loader = StepLoader(
        source, order, data.preprocess.cut, Clips(data.preprocess), bad, data.workers, training=False
    )  # fmt: skip
    for done, batch in enumerate(loader, start=1):
        yield cast(Waveforms, batch["audio"])
        if progress is not None:
            progress(done, len(loader))
