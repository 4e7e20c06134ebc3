"""Sounds: front ends, augmentation, data and the tower that reads spectrograms."""

from dataclasses import dataclass, field
from typing import Any

from triptych.schema.model import Patch
from triptych.schema.option import Range, option
from triptych.schema.run import Part

_SHARE = Range(least=0, below=1)
_PROBABILITY = Range(least=0, most=1)
_STATISTICS = "of the unnormalised log-mel values of the data: `triptych statistics` tells"


@dataclass
class AstMel(Part):
    """Kaldi's filter bank as AST has it: windows of 25 ms every 10 ms."""

    _target_: str = "triptych.features.mel_presets.ast"
    mean: float = option(f"mean {_STATISTICS}", default=-4.2677393)
    std: float = option(f"standard deviation {_STATISTICS}", default=4.5689974, range=Range(above=0))
    mel_bins: int = option("bands of a frame", default=128, range=Range(least=1))
    sample_rate: int = option("samples a second that sounds are brought to, Hz", default=16_000, range=Range(least=1))


@dataclass
class BeatsMel(Part):
    """Kaldi's filter bank with its default window, of 16-bit numbers (BEATs)."""

    _target_: str = "triptych.features.mel_presets.beats"
    mean: float = option(f"mean {_STATISTICS}", default=15.41663)
    std: float = option(f"standard deviation {_STATISTICS}", default=6.55582, range=Range(above=0))


@dataclass
class PasstMel(Part):
    """32 kHz, 128 bands up to 15 kHz (PaSST)."""

    _target_: str = "triptych.features.mel_presets.passt"
    mean: float = option(f"mean {_STATISTICS}", default=-4.5)
    std: float = option(f"standard deviation {_STATISTICS}", default=2.5, range=Range(above=0))


@dataclass
class ClapMel(Part):
    """48 kHz, 64 bands in decibels (LAION's CLAP)."""

    _target_: str = "triptych.features.mel_presets.clap"


@dataclass
class WhisperMel(Part):
    """16 kHz, the range cut below the loudest value of a clip (Whisper)."""

    _target_: str = "triptych.features.mel_presets.whisper"
    mel_bins: int = option("bands of a frame", default=80, range=Range(least=1))


@dataclass
class StoredMel(Part):
    """The front end of a checkpoint, from its own settings."""

    _target_: str = "triptych.features.mel_presets.stored"
    settings: dict[str, Any] = option("what a checkpoint's config.json says of it", default={})


FRONT_ENDS: tuple[type[Any], ...] = (AstMel, BeatsMel, PasstMel, ClapMel, WhisperMel, StoredMel)


@dataclass
class Chain(Part):
    """Changes of a waveform, one after the other, by names of your own; null leaves one out."""

    _target_: str = "triptych.data.waveform_transforms.Chain"
    transforms: dict[str, Part | None] = field(default_factory=dict)


@dataclass
class Gain(Part):
    """Louder or softer."""

    _target_: str = "triptych.data.waveform_transforms.Gain"
    decibels: list[float] = option("least and largest change", default=[-6.0, 6.0])


@dataclass
class Noise(Part):
    """White noise."""

    _target_: str = "triptych.data.waveform_transforms.Noise"
    snr: list[float] = option("least and largest signal-to-noise ratio, dB", default=[10.0, 40.0])


@dataclass
class Equalise(Part):
    """As another microphone would have it: a random curve of gains over frequency."""

    _target_: str = "triptych.data.waveform_transforms.Equalise"
    decibels: list[float] = option("least and largest gain", default=[-10.0, 10.0])
    points: int = option("frequencies that a gain is drawn for", default=6, range=Range(least=2))


@dataclass
class Roll(Part):
    """Moved in time; what leaves at one end comes in at the other."""

    _target_: str = "triptych.data.waveform_transforms.Roll"
    share: float = option("largest move, as a share of the clip", default=0.1, range=_PROBABILITY)


@dataclass
class Speed(Part):
    """Faster and higher, or slower and lower."""

    _target_: str = "triptych.data.waveform_transforms.Speed"
    factors: list[float] = option("least and largest factor", default=[0.9, 1.1])


@dataclass
class Sometimes(Part):
    """A change that some of the clips go through."""

    _target_: str = "triptych.data.waveform_transforms.Sometimes"
    transform: Part = field(default_factory=Part)
    probability: float = option("share of the clips that are changed", default=0.5, range=_PROBABILITY)


CHANGES: tuple[type[Any], ...] = (Gain, Equalise, Noise, Roll, Speed, Sometimes)


@dataclass
class _Sounds(Part):
    """What sounds with labels and sounds with captions share."""

    root: str | None = option("folder of the data", default=None)
    train: Part = field(default_factory=Part)
    validation: dict[str, Part] = field(default_factory=dict)
    augment: Part | None = option("changes of training clips; null for none", default=None)
    front_end: Part = field(default_factory=Part)
    batch_size: int = option("samples of one optimizer step, over all devices and micro-batches", range=Range(least=1))
    max_seconds: float = option(
        "longest clip; training takes a random segment of a longer one, validation its middle",
        default=10.0,
        range=Range(above=0),
    )
    max_batch_seconds: float | None = option(
        "seconds of sound that one device holds at a time in training; gradients of a batch are accumulated over its "
        "micro-batches; null: the whole batch at once",
        default=None,
        range=Range(above=0),
    )
    stereo: str = option(
        "what becomes of several channels: their mean, the left or right one, or refused (such a sound is skipped)",
        default="mean",
        range=Range(choices=("mean", "left", "right", "refuse")),
    )
    resampling: bool = option(
        "bring sounds to the front end's sample rate; false: one of another rate is skipped", default=True
    )
    workers: int = option("processes that read and augment; 0 reads in the main one", default=1, range=Range(least=0))
    seed: int = option("seed of order and augmentation", default="${seed}", range=Range(least=0))
    max_bad_fraction: float = option(
        "share of unreadable sounds that is skipped; more end the run", default=0.01, range=_PROBABILITY
    )
    cache: bool = option("keep all decoded sounds in memory", default=False)


@dataclass
class Sounds(_Sounds):
    """Sounds and labels for training and validation."""

    _target_: str = "triptych.data.audio.AudioData"
    balance: float = option(
        "evens out how often classes come in training, from 0 (as the data have them) to 1 (all equally often)",
        default=0.0,
        range=_PROBABILITY,
    )


@dataclass
class SoundPairs(_Sounds):
    """Sounds and captions for training and validation."""

    _target_: str = "triptych.data.sound_pairs.SoundPairsData"
    samples: int | None = option(
        "samples of an epoch; null: as many as the training data have, in whole batches",
        default=None,
        range=Range(least=1),
    )
    distinct: bool = option(
        "at most one sample of a concept in a batch, so that every other row is a true negative", default=False
    )
    templates: str | None = option(
        "validation sets whose sounds all have a named concept are classified by these, {} standing for a name: see "
        "`triptych zero_shot`; null: only captions and sounds find each other",
        default=None,
    )


@dataclass
class SpecAugment(Part):
    """Bands and moments of spectrograms that training does not see (Park et al., 2019)."""

    _target_: str = "triptych.features.spec_augment.SpecAugment"
    frequency_width: int = option("largest number of bands in a mask", default=48, range=Range(least=0))
    time_width: int = option("largest number of frames in a mask", default=192, range=Range(least=0))
    frequency_masks: int = option("masks of bands a clip", default=1, range=Range(least=0))
    time_masks: int = option("masks of frames a clip", default=1, range=Range(least=0))
    time_share: float = option("largest share of a clip's frames masked", default=0.5, range=_PROBABILITY)
    seed: int = option("seed of the draws", default="${seed}", range=Range(least=0))


@dataclass
class ClipMix(Part):
    """Mixup of clips: two sounds at once."""

    _target_: str = "triptych.objectives.clip_mix.ClipMix"
    mixup: float = option("alpha of mixup's Beta distribution", default=0.3, range=Range(above=0))
    probability: float = option("share of the clips that are mixed", default=0.5, range=_PROBABILITY)
    seed: int = option("seed of the draws", default="${seed}", range=Range(least=0))


@dataclass
class Patchout(Part):
    """Patches of spectrograms that training leaves out (PaSST)."""

    _target_: str = "triptych.nn.drop.Patchout"
    _partial_: bool = True
    time: float = option("share of moments left out", default=0.0, range=_SHARE)
    frequency: float = option("share of bands left out", default=0.0, range=_SHARE)
    rate: float = option("share of the patches that are left, left out at random", default=0.0, range=_SHARE)


@dataclass
class AudioTower(Part):
    """An audio spectrogram transformer: log-mel frames to an embedding."""

    _target_: str = "triptych.towers.audio.AudioTower"
    mel_bins: int = option("bands of a frame, as the front end gives them", range=Range(least=1))
    frames: int = option("frames of a clip that positions are built for; any number is taken", range=Range(least=1))
    dim: int = option("width of the tokens", range=Range(least=1))
    depth: int = option("number of blocks", range=Range(least=1))
    patch: Patch = field(default_factory=Patch)
    mixer: Part = field(default_factory=Part)
    feedforward: Part = field(default_factory=Part)
    norm: Part = field(default_factory=Part)
    position: Part = field(default_factory=Part)
    pool: Part = field(default_factory=Part)
    registers: int = option("learned tokens beside the class token", default=0, range=Range(least=0))
    layer_scale: float | None = option(
        "initial gain of each residual branch; null for no gain", default=None, range=Range(above=0)
    )
    stochastic_depth: float = option(
        "share of samples that the last block's branches leave out in training, growing linearly from 0 at the first",
        default=0.0,
        range=_SHARE,
    )
    patchout: Part = field(default_factory=Part)
    init: Part = field(default_factory=Part)
    tail: str = option(
        "what becomes of last frames that patches do not cover: filled up with silence, or dropped as AST does",
        default="complete",
        range=Range(choices=("complete", "drop")),
    )
    input_norm: Part | None = option(
        "normalisation of what enters the first block, such as the norm of choice; null for none", default=None
    )


@dataclass
class NormedHead(Part):
    """A norm and a linear map (AST)."""

    _target_: str = "triptych.nn.head.NormedHead"
    _partial_: bool = True
    norm: Part = field(default_factory=Part)


PLACES: dict[str, tuple[type[Any], ...]] = {
    "data": (Sounds, SoundPairs),
    "data.front_end": FRONT_ENDS,
    "data.augment": (Chain,),
    "data.augment.transform": CHANGES,
    "objective.mask": (SpecAugment,),
    "objective.mix": (ClipMix,),
    "model.tower": (AudioTower,),
    "model.tower.patchout": (Patchout,),
    "model.head": (NormedHead,),
}
