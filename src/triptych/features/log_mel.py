"""The audio front end: waveforms to normalised log-mel spectrograms, in batches, on any device."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, overload

import torch
from jaxtyping import Float, Int
from torch import Tensor

from triptych.errors import UserError
from triptych.features.mel_banks import MelBank
from triptych.features.mel_frames import Frames, KaldiFrames, StftFrames
from triptych.features.mel_logs import Decibels, FlooredLog, Log, RangedLog, ShiftedLog
from triptych.features.spectrograms import Spectrograms
from triptych.features.waveforms import Waveforms

# Memory for the frames of an hour at once is not to be had; the longest training clips fit whole.
CPU_FRAMES, DEVICE_FRAMES = 4096, 65_536


@dataclass(frozen=True)
class LogMel:
    """Frames of a waveform, their energies in mel filters, the logarithm of these, less ``mean`` and over ``2 * std``.

    The factor 2 is AST's (Gong et al., 2021), and its successors' (AudioMAE, BEATs, EAT); ``mean`` and ``std`` are
    those of all frames and bins of a data set.

    All is float32, autocast or not: in bfloat16 a value would be wrong by 0.04. A clip gives the same bits on a CPU
    alone and in any batch. No gradient reaches the waveform.

    Padding holds the value of silence: where a batch is padded, and where a mask takes something out, there is what
    the front end makes of digital silence, and not some value that only looks like "nothing".

    Raises UserError for a setting out of its range.
    """

    frames: Frames
    bank: MelBank
    log: Log
    mean: float = 0.0
    std: float = 0.5

    def __post_init__(self) -> None:
        self.bank.check(self.sample_rate)
        if not self.std > 0:
            raise UserError(f"std is {self.std}; it must be above 0")

    @property
    def modality(self) -> str:
        """What it reads."""
        return "audio"

    @property
    def sample_rate(self) -> int:
        """Samples a second of the waveforms, Hz."""
        return self.frames.sample_rate

    @property
    def mel_bins(self) -> int:
        """How many values a frame has."""
        return self.bank.mel_bins

    @property
    def min_samples(self) -> int:
        """What a clip needs to have a frame."""
        return self.frames.min_samples

    @property
    def frames_per_second(self) -> float:
        """Of a long clip."""
        return self.sample_rate / self.frames.hop_length

    def count(self, samples: int) -> int:
        """How many frames a clip of so many samples has; 0 for one that is too short."""
        return self.frames.count(samples)

    @cached_property
    def silence(self) -> float:
        """What every bin of every frame of digital silence (zeros) becomes."""
        energies = torch.zeros(1, self.mel_bins)
        return float(self._normalise(self.log(energies, [1]))[0, 0])

    @property
    def pad_value(self) -> float:
        """What padded frames and masks hold: `silence`, by design."""
        return self.silence

    @property
    def unnormalised(self) -> "LogMel":
        """The same without mean and standard deviation: what statistics are taken of."""
        return replace(self, mean=0.0, std=0.5)

    @overload
    def __call__(self, waveforms: Waveforms) -> Spectrograms: ...
    @overload
    def __call__(self, waveforms: Float[Tensor, " samples"]) -> Float[Tensor, "frames mel_bins"]: ...
    @overload
    def __call__(self, waveforms: Float[Tensor, "batch samples"], lengths: Sequence[int] | Tensor) -> Spectrograms: ...
    @torch.no_grad()
    def __call__(
        self, waveforms: Waveforms | Tensor, lengths: Sequence[int] | Tensor | None = None
    ) -> Spectrograms | Tensor:
        """Spectrograms of clips, on their device; of one waveform ``(samples,)`` its frames; of rows ``(batch,
        samples)``, of which the first ``lengths[i]`` samples are real, spectrograms.

        Raises UserError for another sample rate (a tensor is taken to have the right one), and for a clip shorter than
        `min_samples`.
        """
        if isinstance(waveforms, Tensor):
            if waveforms.ndim == 1:
                return self(Waveforms(waveforms, [len(waveforms)], self.sample_rate))[0]
            if lengths is None:
                raise ValueError("rows of samples need `lengths`: how many samples of each are real")
            clips = [row[: int(length)] for row, length in zip(waveforms, lengths, strict=True)]
            waveforms = Waveforms.of(clips, self.sample_rate)
        counts = self._counts(waveforms)
        waveforms = waveforms.map(Tensor.float)
        with _full_precision(waveforms.device.type):
            # A product's bits depend on how many rows it has, so on a CPU each clip has its own; a GPU would idle.
            if waveforms.device.type == "cpu":
                values = [
                    self._normalise(self.log(self._one(clip, n), [n]))
                    for clip, n in zip(waveforms, counts, strict=True)
                ]
                found = values[0] if len(values) == 1 else torch.cat(values)
            else:
                found = self._normalise(self.log(self._all(waveforms, counts), counts))
        most = waveforms.max_batch_samples
        return Spectrograms(found, counts, self.pad_value, None if most is None else most // self.frames.hop_length)

    def _counts(self, waveforms: Waveforms) -> list[int]:
        if waveforms.sample_rate != self.sample_rate:
            raise UserError(
                f"the clips have {waveforms.sample_rate} samples a second, and the model takes {self.sample_rate} Hz: "
                "resample them (triptych.features.resample)"
            )
        if not len(waveforms):
            raise ValueError("a batch of no clips has no spectrograms")
        shortest = min(waveforms.lengths)
        if shortest < self.min_samples:
            raise UserError(
                f"a clip has {shortest} samples, and one frame takes {self.min_samples} "
                f"({1000 * self.min_samples / self.sample_rate:g} ms at {self.sample_rate} Hz): leave it out, or pad it"
            )
        return [self.count(length) for length in waveforms.lengths]

    def _one(self, clip: Float[Tensor, " samples"], count: int) -> Float[Tensor, "count mel_bins"]:
        """Energies of a clip, cut where it lies."""
        windows = self.frames.extend(clip).unfold(0, self.frames.span, self.frames.hop_length)[:count]
        return self._energies([self.frames.power(part) for part in windows.split(CPU_FRAMES)])

    def _all(self, waveforms: Waveforms, counts: Sequence[int]) -> Float[Tensor, "total mel_bins"]:
        """Energies of all clips by the same few kernels."""
        signals = [self.frames.extend(clip) for clip in waveforms]
        start, starts = 0, []
        for signal, count in zip(signals, counts, strict=True):
            starts.append(torch.arange(start, start + count * self.frames.hop_length, self.frames.hop_length))
            start += len(signal)
        windows = torch.cat(signals).unfold(0, self.frames.span, 1)
        rows: Int[Tensor, " total"] = torch.cat(starts).to(waveforms.device)
        return self._energies([self.frames.power(windows.index_select(0, part)) for part in rows.split(DEVICE_FRAMES)])

    def _energies(self, powers: list[Tensor]) -> Tensor:
        power = powers[0] if len(powers) == 1 else torch.cat(powers)
        return power @ self.bank.matrix(self.sample_rate, self.frames.n_fft, power.device)

    def _normalise(self, values: Tensor) -> Tensor:
        return values.sub_(self.mean).div_(2 * self.std)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "kind": "log_mel",
            "frames": {"kind": self.frames.kind, **asdict(self.frames)},
            "bank": asdict(self.bank),
            "log": {"kind": self.log.kind, **asdict(self.log)},  # pyright: ignore[reportArgumentType]
            "mean": self.mean,
            "std": self.std,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "LogMel":
        """The inverse of `to_dict`. Raises UserError for a kind or a key that it does not know."""
        values = dict(values)
        if values.pop("kind", "log_mel") != "log_mel":
            raise UserError("these are not the settings of a log-mel front end: their kind must be log_mel")
        parts = {
            "frames": _part(values.pop("frames", {}), (KaldiFrames, StftFrames), "frames"),
            "bank": _part({"kind": "bank", **values.pop("bank", {})}, (MelBank,), "bank"),
            "log": _part(values.pop("log", {}), (FlooredLog, ShiftedLog, Decibels, RangedLog), "log"),
        }
        return _part({"kind": "log_mel", **parts, **values}, (cls,), "log_mel")


def _part(values: Mapping[str, Any], kinds: Sequence[type], name: str) -> Any:
    """The kind that the values name, made of the others."""
    known = {getattr(kind, "kind", name): kind for kind in kinds}
    kind = known.get(values.get("kind", ""))
    if kind is None:
        raise UserError(f"{name}.kind is {values.get('kind')!r}; it must be one of {', '.join(known)}")
    given = {key: value for key, value in values.items() if key != "kind"}
    unknown = given.keys() - {field.name for field in fields(kind)}
    if unknown:
        raise UserError(f"{name} has no setting {', '.join(sorted(unknown))}; it may come from a newer version")
    return kind(**given)


@contextmanager
def _full_precision(device: str) -> Iterator[None]:
    """In TF32 or bfloat16 the mel energies would have three digits."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
