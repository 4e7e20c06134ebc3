"""Pictures with captions, for contrastive training."""

from dataclasses import dataclass, field
from typing import Any

from triptych.schema import data
from triptych.schema.data import AnyImages
from triptych.schema.option import Range, option
from triptych.schema.run import Part

_SPLITS = Range(choices=("train", "validation", "test"))
_CHANNELS = Range(choices=(1, 3))
_CONCEPT = "that names what a picture shows; samples of one name are positives of each other; null: each is its own"


@dataclass
class ShardPairs(Part):
    """WebDataset tar shards, in a local folder or behind a URL."""

    _target_: str = "triptych.data.pairs_shards.ShardPairs"
    _partial_: bool = True
    root: str | None = option("folder or URL (s3://, https://, hf://) of the shards; null: data.root", default=None)
    shards: str = option("pattern of the tars' names, such as train-*.tar or {0000..0099}.tar", default="*.tar")
    caption: Any = None  # a part, or one that is named elsewhere: ${data.train.caption}
    concept: str | None = option(f"field of the json member {_CONCEPT}", default=None)
    channels: int = option("3 for RGB, 1 for grey", default=3, range=_CHANNELS)
    shards_at_once: int = option(
        "shards behind a URL that are mixed at a time; they are fetched one after the other", default=8,
        range=Range(least=1),
    )  # fmt: skip
    keep_gb: float = option(
        "10^9 bytes of fetched shards to keep on this disk; 0 reads each picture by a request of its own",
        default=20.0,
        range=Range(least=0),
    )
    keep: str | None = option("folder for fetched shards; null: in the user's cache folder", default=None)


@dataclass
class TablePairs(Part):
    """A table (CSV, TSV, Parquet): where a picture lies and what is said of it."""

    _target_: str = "triptych.data.pairs_table.TablePairs"
    _partial_: bool = True
    file: str = option("the table; a relative path starts from the current folder, or else from data.root")
    root: str | None = option(
        "folder that relative paths of pictures start from; null: data.root, or else the folder of the table",
        default=None,
    )
    caption: Any = None  # a part, or one that is named elsewhere: ${data.train.caption}
    image: str | None = option("column of the pictures; null: the only one that can be", default=None)
    concept: str | None = option(f"column {_CONCEPT}", default=None)
    split: str = option("which part to read", default="train", range=_SPLITS)
    split_column: str | None = option(
        "column that names the split of a row; null: one named split, set, subset, partition or usage", default=None
    )
    other_file: str | None = option(
        "the table of the other split; where it is another file, every row of this one is read", default=None
    )
    validation_fraction: float = option(
        "share held back for validation where nothing says what is for it", default=0.1, range=Range(above=0, below=1)
    )
    channels: int = option("3 for RGB, 1 for grey", default=3, range=_CHANNELS)


@dataclass
class DatasetPairs(Part):
    """A data set of the library `datasets` (the extra triptych[datasets])."""

    _target_: str = "triptych.data.pairs_sets.DatasetPairs"
    _partial_: bool = True
    root: str | None = option("folder of the set; null: data.root", default=None)
    hub: str | None = option(
        "name of a set on the hub, in place of data.root; fetched where it is not in the library's cache", default=None
    )
    subset: str | None = option("configuration of the set, where it has several", default=None)
    caption: Any = None  # a part, or one that is named elsewhere: ${data.train.caption}
    image: str | None = option("column of the pictures; null: the only one with the feature Image", default=None)
    concept: str | None = option(f"column {_CONCEPT}", default=None)
    split: str = option("which part to read", default="train", range=_SPLITS)
    validation_fraction: float = option(
        "share held back for validation where the set has no split for it", default=0.1, range=Range(above=0, below=1)
    )
    channels: int = option("3 for RGB, 1 for grey", default=3, range=_CHANNELS)


@dataclass
class Mixture(Part):
    """Several sources, each with its share of every epoch."""

    _target_: str = "triptych.data.mixture.Mixture"
    _partial_: bool = True
    sources: dict[str, Part] = field(default_factory=dict)
    weights: dict[str, float] | None = option(
        "share of an epoch of each source, relative to the others; null: every sample of every source once",
        default=None,
    )


@dataclass
class WrittenCaption(Part):
    """Captions that people wrote; training draws one of them for each sample and epoch."""

    _target_: str = "triptych.data.captions.WrittenCaption"
    fields: list[str] = option(
        "fields or columns that hold captions, or lists of them; of shards `txt` is the member .txt",
        default=["caption"],
    )
    separator: str | None = option("divides several captions in one text, such as |", default=None)


@dataclass
class ComposedCaption(Part):
    """Captions composed of a name and tags by templates drawn at random."""

    _target_: str = "triptych.data.captions.ComposedCaption"
    templates: list[str] = option(
        "such as `a drawing of {a name}, {tags}`, with names of fields in braces, `{a name}` with an article; the "
        "first makes the caption of evaluation"
    )
    most_tags: int = option("entries of a list that a caption takes at most", default=3, range=Range(least=1))
    plain: list[str] = option("fields whose hyphens become spaces", default=[])


@dataclass
class Pairs(AnyImages):
    """Pictures and captions for training and validation."""

    _target_: str = "triptych.data.pairs.PairsData"
    root: str | None = option("folder or URL of the data", default=None)
    image_size: Any = option(
        "size of the images that the model gets: one number, height and width, or a part: data/image_size=native",
        default="${model.towers.image.image_size}",
    )
    samples: int | None = option(
        "samples of an epoch; null: as many as the training data have, in whole batches",
        default=None,
        range=Range(least=1),
    )
    distinct: bool = option(
        "at most one sample of a concept in a batch, so that every other row is a true negative", default=False
    )
    templates: str | None = option(
        "validation sets whose pictures all have a named concept are classified by these, {} standing for a name: a "
        "template, several divided by |, a file with one a line, or a set such as imagenet, photo, emoji; null: only "
        "captions and pictures find each other",
        default=None,
    )


SINGLE = (ShardPairs, TablePairs, DatasetPairs)
CAPTIONS = (WrittenCaption, ComposedCaption)

PLACES = {
    "data": (*data.PLACES["data"], Pairs),
    "data.train": (*data.PLACES["data.train"], *SINGLE, Mixture),
    "data.train.caption": CAPTIONS,
}
