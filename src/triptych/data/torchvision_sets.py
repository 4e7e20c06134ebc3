"""Data sets that torchvision knows, read from files that are already here, or fetched where the user asks for it."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torchvision import datasets

from triptych.data.files import suggest
from triptych.errors import UserError

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package `dataset-fashion-mnist` puts the four files."""


LARGEST_IDX = 1 << 30
"""Bytes of an idx file, unpacked; Fashion-MNIST's has 47 million."""


class ArraySource:
    """Images that lie in memory as one array.

    Args:
        images: uint8 `(samples, channels, height, width)`.
        labels: class of each.
        classes: their names.
        title: name of the data set, for messages.
    """

    multilabel = False

    def __init__(
        self,
        images: UInt8[Tensor, "samples channels height width"],
        labels: list[int],
        classes: list[str],
        title: str = "array",
    ) -> None:
        if len(images) != len(labels):
            raise UserError(f"{title} has {len(images)} images and {len(labels)} labels")
        outside = [label for label in labels if not 0 <= label < len(classes)]
        if outside:
            raise UserError(f"{title} has the label {outside[0]}, and {len(classes)} classes (0..{len(classes) - 1})")
        self.classes = list(classes)
        self._images = images
        self._labels = labels
        self._title = title

    def __len__(self) -> int:
        return len(self._labels)

    def name(self, index: int) -> str:
        """Title and number."""
        return f"{self._title}[{index}]"

    def read(self, index: int) -> tuple[Tensor, int]:
        """A view of the image, not to be written to, and its label."""
        return self._images[index], self._labels[index]


def fashion_mnist(root: str | None = None, split: str = "train", download: bool = False) -> ArraySource:
    """Fashion-MNIST: 60,000 training and 10,000 test images, grey, 28 x 28, 10 kinds of clothing (Xiao et al., 2017).

    Args:
        root: folder with the four idx files, plain or .gz, its own or as torchvision lays them out
            (`root/FashionMNIST/raw`). None looks where Debian's package puts them.
        split: `train`, or `test` (`validation` is the same).
        download: fetch the files into `root` where they are not there.

    Raises:
        UserError: the files are not there, or are not what they should be.
    """
    part = {"train": "train", "test": "t10k"}[_known_split(split)]
    folder = Path(root).expanduser() if root is not None else DEBIAN_FASHION_MNIST
    files = [_idx_file(folder, f"{part}-{kind}") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    if None in files and download:
        if root is None:
            raise UserError("download=true needs a folder: set root, such as root=data/fashion-mnist")
        datasets.FashionMNIST(str(folder), train=part == "train", download=True)
        files = [_idx_file(folder, f"{part}-{kind}") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    images, labels = files
    if images is None or labels is None:
        raise UserError(
            f"Fashion-MNIST is not in {folder}: install Debian's package (apt-get install dataset-fashion-mnist) and "
            "leave root empty, or set root to a folder with the idx files, or set root and download=true"
        )
    pixels = torch.from_numpy(read_idx(images, dimensions=3)).unsqueeze(1)
    return ArraySource(
        pixels, read_idx(labels, dimensions=1).tolist(), datasets.FashionMNIST.classes, f"fashion_mnist {part}"
    )


def cifar10(root: str = "data/cifar10", split: str = "train", download: bool = False) -> ArraySource:
    """CIFAR-10: 50,000 training and 10,000 test images, RGB, 32 x 32, 10 classes (Krizhevsky, 2009).

    Args:
        root: folder that holds `cifar-10-batches-py`. torchvision compares checksums before it opens those files.
        split: `train`, or `test` (`validation` is the same).
        download: fetch the archive into `root` where it is not there.

    Raises:
        UserError: the files are not there or their checksums differ.
    """
    folder = Path(root).expanduser()
    try:
        held = datasets.CIFAR10(str(folder), train=_known_split(split) == "train", download=download)
    except RuntimeError as error:
        raise UserError(
            f"CIFAR-10 is not in {folder} (or a checksum differs): set data.root to the folder that holds "
            "cifar-10-batches-py, or set data.train.download=true to fetch it"
        ) from error
    pixels = torch.from_numpy(held.data).permute(0, 3, 1, 2).contiguous()
    return ArraySource(pixels, list(held.targets), list(held.classes), f"cifar10 {split}")


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Array of unsigned bytes in the idx format of MNIST (big-endian: magic number, extents, bytes), plain or .gz.

    Args:
        path: the file.
        dimensions: 3 for images, 1 for labels.

    Raises:
        UserError: not such a file, or not as long as its header says.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            with gzip.open(path) as packed:
                data = packed.read(LARGEST_IDX + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if len(data) > LARGEST_IDX:
        raise UserError(
            f"{path} holds more than {LARGEST_IDX >> 20} MiB, which no file of this kind does: fetch it again"
        )
    header = 4 + 4 * dimensions
    magic = struct.unpack(">I", data[:4])[0] if len(data) >= header else None
    expected = 0x0800 + dimensions
    if magic != expected:
        raise UserError(f"{path} is no idx file of {dimensions} dimensions: it starts with {magic}, not {expected}")
    shape = struct.unpack(f">{dimensions}I", data[4:header])
    if len(data) - header != math.prod(shape):
        raise UserError(f"{path} holds {len(data) - header} values; its header says {shape}: fetch it again")
    return np.frombuffer(bytearray(data[header:]), dtype=np.uint8).reshape(shape)


def _known_split(split: str) -> str:
    if split not in ("train", "validation", "test"):
        raise UserError(f"split is {split!r}{suggest(split, ['train', 'validation', 'test'])}")
    return "train" if split == "train" else "test"


def _idx_file(folder: Path, name: str) -> Path | None:
    """The file of that name, plain or packed, in the places where people keep it."""
    for place in (folder, folder / "raw", folder / "FashionMNIST" / "raw"):
        for candidate in (place / name, place / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    return None
