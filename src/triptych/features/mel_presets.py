"""The front ends of known audio models, by name. Each gives the numbers of the model's own code."""

from collections.abc import Callable, Mapping
from typing import Any

from triptych.features.log_mel import LogMel
from triptych.features.mel_banks import MelBank
from triptych.features.mel_frames import KaldiFrames, StftFrames
from triptych.features.mel_logs import Decibels, FlooredLog, RangedLog, ShiftedLog


def ast(mean: float = -4.2677393, std: float = 4.5689974, mel_bins: int = 128, sample_rate: int = 16_000) -> LogMel:
    """AST (Gong et al., 2021) and those that took it over (AudioMAE, SSAST, EAT): Kaldi's filter bank of a waveform
    between -1 and 1, windows of 25 ms every 10 ms.

    ``mean`` and ``std`` are AudioSet's; ESC-50 has -6.6268077 and 5.358466, Speech Commands -6.845978 and 5.5654526.
    AST's own code takes the mean from a clip before: each frame's is taken anyway, so that is left out here, as in
    transformers.
    """
    window = sample_rate * 25 // 1000
    frames = KaldiFrames(sample_rate, window, sample_rate // 100, n_fft=1 << (window - 1).bit_length())
    return LogMel(frames, MelBank(mel_bins), FlooredLog(), mean, std)


def beats(mean: float = 15.41663, std: float = 6.55582) -> LogMel:
    """BEATs (Chen et al., 2022): Kaldi's filter bank with its default window, of 16-bit numbers."""
    return LogMel(KaldiFrames(window="povey", scale=2.0**15), MelBank(), FlooredLog(), mean, std)


def passt(mean: float = -4.5, std: float = 2.5) -> LogMel:
    """PaSST (Koutini et al., 2022) at 32 kHz as it is evaluated: 0 to 15 kHz."""
    frames = StftFrames(32_000, 800, 320, 1024, periodic=False, preemphasis=0.97)
    return LogMel(frames, MelBank(128, 0.0, 15_000.0), ShiftedLog(), mean, std)


def clap() -> LogMel:
    """CLAP (Wu et al., 2023; LAION) without fusion, at 48 kHz: 64 bins from 50 Hz to 14 kHz, in decibels."""
    return LogMel(StftFrames(48_000, 1024, 480, 1024), MelBank(64, 50.0, 14_000.0, "slaney"), Decibels())


def whisper(mel_bins: int = 80) -> LogMel:
    """Whisper (Radford et al., 2022) at 16 kHz; 128 bins for large-v3. Whisper itself pads each clip with silence to
    30 seconds first.
    """
    frames = StftFrames(16_000, 400, 160, 400, drop_last=True)
    return LogMel(frames, MelBank(mel_bins, 0.0, 8000.0, "slaney"), RangedLog(), mean=-4.0, std=2.0)


PRESETS: dict[str, Callable[[], LogMel]] = {each.__name__: each for each in (ast, beats, passt, clap, whisper)}


def stored(settings: Mapping[str, Any]) -> LogMel:
    """The front end that a checkpoint's config.json describes. Raises UserError: see `LogMel.from_dict`."""
    return LogMel.from_dict(settings)
