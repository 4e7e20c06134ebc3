"""Data and augmentation."""

from dataclasses import dataclass, field
from typing import Any

from triptych.schema.option import Range, option
from triptych.schema.run import Part
from triptych.schema.sizes import NativeSize

_INTERPOLATIONS = Range(choices=("nearest", "bilinear", "bicubic"))
_SPLITS = Range(choices=("train", "validation", "test"))
_PROBABILITY = Range(least=0, most=1)


@dataclass
class Folds(Part):
    """Cross-validation: one fold (or several) is for validation, the rest for training."""

    _target_: str = "triptych.data.folds.Folds"
    held_out: Any = option(
        "fold to hold out, such as 3, or several; each: one after the other, a training for each; null: none",
        default=None,
    )
    column: str | None = option("column of a table that names the fold of a row; null: fold", default=None)


@dataclass
class Segment(Part):
    """Columns that say which part of a sound file a row means, in seconds."""

    _target_: str = "triptych.data.segment.Segment"
    start: str | None = option("column of the start; null: 0", default=None)
    end: str | None = option("column of the end; null: the end of the file", default=None)


@dataclass
class Shards(Part):
    """WebDataset tar shards in a local folder."""

    _target_: str = "triptych.data.shards.ShardSource"
    _partial_: bool = True
    shards: str = option("pattern of the tars' names, such as train-*.tar", default="*.tar")
    label: str = option(
        "field of the json member that holds the class, or `cls` or `txt` for that member", default="cls"
    )
    classes: list[str] | None = option(
        "class names; null: from info.json in the folder, else all labels that occur", default=None
    )
    multilabel: bool = option("labels are lists of classes", default=False)
    channels: int = option("3 for RGB, 1 for grey", default=3, range=Range(choices=(1, 3)))


@dataclass
class Folder(Part):
    """A folder of pictures, one folder a class."""

    _target_: str = "triptych.data.folder.FolderSource"
    _partial_: bool = True
    split: str = option("which part to read", default="train", range=_SPLITS)
    validation_fraction: float = option(
        "share of each class held back for validation where no folder val, valid or validation exists",
        default=0.1,
        range=Range(above=0, below=1),
    )
    classes: list[str] | None = option("class names; null: the folders' names", default=None)
    channels: int = option("3 for RGB, 1 for grey", default=3, range=Range(choices=(1, 3)))


@dataclass
class Manifest(Part):
    """A table (CSV, TSV, Parquet) with a row a sample: where its image lies and what it shows."""

    _target_: str = "triptych.data.manifest.ManifestSource"
    _partial_: bool = True
    file: str = option("the table; a relative path starts from the current folder, or else from data.root")
    image: str | None = option("column of the images; null: the only one that can be", default=None)
    label: str | None = option("column of the labels; null: by its name, or the only one left", default=None)
    label_separator: str | None = option(
        "divides the classes of one cell, such as |; a sample then has several labels", default=None
    )
    label_columns: list[str] = option(
        "a column of 0 and 1 for each class, in place of `label`; a sample then has several labels", default=[]
    )
    split: str = option("which part to read", default="train", range=_SPLITS)
    split_column: str | None = option(
        "column that names the split of a row; null: one named split, set, subset, partition or usage", default=None
    )
    other_file: str | None = option(
        "the table of the other split; where it is another file, every row of this one is read", default=None
    )
    validation_fraction: float = option(
        "share of each class held back for validation where nothing says what is for it",
        default=0.1,
        range=Range(above=0, below=1),
    )
    classes: list[str] | None = option("class names; null: those of the training rows", default=None)
    channels: int = option("3 for RGB, 1 for grey", default=3, range=Range(choices=(1, 3)))
    folds: Folds = field(default_factory=Folds)
    segment: Segment = field(default_factory=Segment)


@dataclass
class Pattern(Part):
    """Files whose names say what they show."""

    _target_: str = "triptych.data.pattern.PatternSource"
    _partial_: bool = True
    pattern: str = option(
        "regular expression for paths below data.root, with a group (?P<label>...), and (?P<fold>...) or "
        "(?P<split>...) where names tell those"
    )
    split: str = option("which part to read", default="train", range=_SPLITS)
    folds: Folds = field(default_factory=Folds)
    validation_fraction: float = option(
        "share of each class held back for validation where nothing says what is for it",
        default=0.1,
        range=Range(above=0, below=1),
    )
    classes: list[str] | None = option("class names; null: those that occur", default=None)
    channels: int = option("3 for RGB, 1 for grey", default=3, range=Range(choices=(1, 3)))


@dataclass
class Datasets(Part):
    """A data set of the library `datasets` (the extra triptych[datasets])."""

    _target_: str = "triptych.data.huggingface_sets.DatasetSource"
    _partial_: bool = True
    hub: str | None = option(
        "name of a set on the hub, in place of data.root; fetched where it is not in the library's cache", default=None
    )
    subset: str | None = option("configuration of the set, where it has several", default=None)
    image: str | None = option(
        "column of the images; null: the only one with the feature Image (of sounds: Audio)", default=None
    )
    label: str | None = option(
        "column of the labels; null: the only one with the feature ClassLabel, else by its name", default=None
    )
    split: str = option("which part to read", default="train", range=_SPLITS)
    validation_fraction: float = option(
        "share of each class held back for validation where the set has no split for it",
        default=0.1,
        range=Range(above=0, below=1),
    )
    classes: list[str] | None = option("class names; null: those of the set", default=None)
    channels: int = option("3 for RGB, 1 for grey", default=3, range=Range(choices=(1, 3)))


@dataclass
class SpeechCommands(Part):
    """Speech Commands, unpacked."""

    _target_: str = "triptych.data.speech_commands.SpeechCommands"
    _partial_: bool = True
    split: str = option("which part to read", default="train", range=_SPLITS)


@dataclass
class FashionMnist(Part):
    """Fashion-MNIST."""

    _target_: str = "triptych.data.torchvision_sets.fashion_mnist"
    _partial_: bool = True
    split: str = option("which part to read", default="train", range=_SPLITS)
    download: bool = option("fetch the files into data.root where they are not there", default=False)


@dataclass
class Cifar10(Part):
    """CIFAR-10."""

    _target_: str = "triptych.data.torchvision_sets.cifar10"
    _partial_: bool = True
    split: str = option("which part to read", default="train", range=_SPLITS)
    download: bool = option("fetch the files into data.root where they are not there", default=False)


@dataclass
class CentreCrop(Part):
    """No augmentation: resized, centre cropped."""

    _target_: str = "triptych.data.transforms.CentreCrop"
    image_size: Any = option(
        "of the result: one number, height and width, or a part for each its own", default="${data.image_size}"
    )
    crop_fraction: float = option(
        "the crop's part of the resized image (timm's crop_pct)", default=1.0, range=Range(above=0, most=1)
    )
    interpolation: str = option("of the resize", default="bicubic", range=_INTERPOLATIONS)


@dataclass
class RandomResizedCrop(Part):
    """A random part of the image at random aspect, perhaps mirrored."""

    _target_: str = "triptych.data.transforms.RandomResizedCrop"
    image_size: Any = option(
        "of the result: one number, height and width, or a part for each its own", default="${data.image_size}"
    )
    scale: list[float] = option("least and largest part of the image's area", default=[0.35, 1.0])
    ratio: list[float] = option("least and largest width over height", default=[0.75, 1.3333333333333333])
    flip: float = option(
        "probability of a mirror image; 0 where left and right mean something", default=0.5, range=_PROBABILITY
    )
    interpolation: str = option("of the resize", default="bicubic", range=_INTERPOLATIONS)


@dataclass
class PadCrop(Part):
    """Padded, cropped at a random place, perhaps mirrored: for small images."""

    _target_: str = "triptych.data.transforms.PadCrop"
    image_size: Any = option(
        "of the result: one number, height and width, or a part for each its own", default="${data.image_size}"
    )
    padding: int = option("pixels on each side", default=4, range=Range(least=0))
    flip: float = option("probability of a mirror image", default=0.5, range=_PROBABILITY)
    fill: int = option("value of the padding", default=0, range=Range(least=0, most=255))
    interpolation: str = option(
        "of a resize, where images have another size", default="bilinear", range=_INTERPOLATIONS
    )


@dataclass
class RandAugment(Part):
    """Operations drawn at random (Cubuk et al., 2020), after a crop."""

    _target_: str = "triptych.data.transforms.RandAugment"
    crop: Part = field(default_factory=Part)
    operations: int = option("operations on each image", default=2, range=Range(least=1))
    magnitude: int = option("strength, 0 to 30", default=9, range=Range(least=0, most=30))
    fill: int = option("value of the pixels that a shift uncovers", default=128, range=Range(least=0, most=255))


@dataclass
class ThreeAugment(Part):
    """3-Augment of DeiT III: grey, solarise or blur, then colour jitter, after a crop."""

    _target_: str = "triptych.data.transforms.ThreeAugment"
    crop: Part = field(default_factory=Part)
    color_jitter: float = option(
        "largest change of brightness, contrast and saturation", default=0.3, range=_PROBABILITY
    )
    sigma: list[float] = option("least and largest standard deviation of the blur, in pixels", default=[0.1, 2.0])


@dataclass
class AnyImages(Part):
    """What images with labels and images with captions share."""

    root: str | None = option("folder of the data", default=None)
    train: Part = field(default_factory=Part)
    validation: dict[str, Part] = field(default_factory=dict)
    augment: Part = field(default_factory=Part)
    evaluate: Part = field(default_factory=Part)
    batch_size: int = option("samples of one optimizer step, over all devices and micro-batches", range=Range(least=1))
    image_size: Any = option(
        "size of the images that the model gets: one number, height and width, or a part: data/image_size=native",
        default="${model.tower.image_size}",
    )
    mean: list[float] = option("mean of each channel, of pixels scaled to 0..1; as many values as channels")
    std: list[float] = option("standard deviation of each channel, of pixels scaled to 0..1")
    workers: int = option("processes that read and augment; 0 reads in the main one", default=1, range=Range(least=0))
    seed: int = option("seed of order and augmentation", default="${seed}", range=Range(least=0))
    max_bad_fraction: float = option(
        "share of unreadable images that is skipped; more end the run", default=0.01, range=_PROBABILITY
    )
    cache: bool = option("keep all decoded images in memory", default=False)


@dataclass
class Images(AnyImages):
    """Images and labels for training and validation."""

    _target_: str = "triptych.data.module.ImageData"
    balance: float = option(
        "evens out how often classes come in training, from 0 (as the data have them) to 1 (all equally often)",
        default=0.0,
        range=_PROBABILITY,
    )


_SOURCES = (Shards, Folder, Manifest, Pattern, Datasets, SpeechCommands, FashionMnist, Cifar10)

PLACES: dict[str, tuple[type[Any], ...]] = {
    "data": (Images,),
    "data.train": _SOURCES,
    "data.train.folds": (Folds,),
    "data.train.segment": (Segment,),
    "data.augment": (CentreCrop, RandomResizedCrop, PadCrop, RandAugment, ThreeAugment),
    "data.augment.crop": (RandomResizedCrop, PadCrop),
    "data.evaluate": (CentreCrop,),
    "data.image_size": (NativeSize,),
}
SOURCES = _SOURCES
