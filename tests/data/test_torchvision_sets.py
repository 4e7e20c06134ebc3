"""Fashion-MNIST and CIFAR-10 from files that are already here."""

import gzip
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from triptych.data import torchvision_sets
from triptych.data.torchvision_sets import ArraySource, cifar10, fashion_mnist, read_idx
from triptych.errors import UserError

IMAGES = np.arange(5 * 28 * 28, dtype=np.uint8).reshape(5, 28, 28)


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">{array.ndim + 1}I", 0x0800 + array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def fashion(tmp_path: Path) -> Path:
    for part, count in (("train", 5), ("t10k", 2)):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(IMAGES[:count]))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(count)))
    return tmp_path


def pack(folder: Path, place: str) -> None:
    """Compress the files and move them, as other distributions of the set have them."""
    (folder / place).mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*ubyte"):
        (folder / place / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()


@pytest.mark.parametrize("place", ["plain", ".", "raw", "FashionMNIST/raw"])
def test_fashion_mnist_in_every_layout(place: str, fashion: Path) -> None:
    if place != "plain":
        pack(fashion, place)
    train, test = fashion_mnist(str(fashion)), fashion_mnist(str(fashion), split="test")
    assert (len(train), len(test)) == (5, 2)
    image, label = train.read(3)
    assert torch.equal(torch.as_tensor(image), torch.from_numpy(IMAGES[3])[None])
    assert label == 3
    assert train.classes[9] == "Ankle boot"


def test_fashion_mnist_where_debian_puts_it(fashion: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_sets, "DEBIAN_FASHION_MNIST", fashion)
    pack(fashion, ".")
    assert len(fashion_mnist()) == 5


@pytest.mark.skipif(
    not torchvision_sets.DEBIAN_FASHION_MNIST.is_dir(), reason="Debian's dataset-fashion-mnist is absent"
)
def test_real_fashion_mnist() -> None:
    test = fashion_mnist(split="test")
    assert len(test) == 10_000
    labels = [test.read(index)[1] for index in range(10_000)]
    assert all(labels.count(label) == 1000 for label in range(10))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], r"holds 3919 values; its header says \(5, 28, 28\)"),
        (lambda data: b"\0" * len(data), "starts with 0, not 2051"),
        (lambda data: data[:3], "starts with None, not 2051"),
    ],
)
def test_damaged_files_are_told(damage: Callable[[bytes], bytes], message: str, fashion: Path) -> None:
    path = fashion / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=message):
        fashion_mnist(str(fashion))


def test_a_damaged_archive_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(idx(IMAGES))[:100])
    with pytest.raises(UserError, match=r"x.gz cannot be read"):
        read_idx(path, 3)


def test_missing_files_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_sets, "DEBIAN_FASHION_MNIST", tmp_path)
    with pytest.raises(UserError, match=r"apt-get install dataset-fashion-mnist.*download=true"):
        fashion_mnist()
    with pytest.raises(UserError, match="needs a folder"):
        fashion_mnist(download=True)
    with pytest.raises(UserError, match=r"cifar-10-batches-py, or set data\.train\.download=true"):
        cifar10(str(tmp_path))
    with pytest.raises(UserError, match="did you mean 'train'"):
        fashion_mnist(split="trian")


def test_nothing_is_fetched_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(root: str, train: bool, download: bool) -> None:
        asked.append((root, train, download))

    monkeypatch.setattr(datasets, "FashionMNIST", fetch)
    with pytest.raises(UserError):
        fashion_mnist(str(tmp_path))
    assert asked == []
    with pytest.raises(UserError):
        fashion_mnist(str(tmp_path), download=True)
    assert asked == [(str(tmp_path), True, True)]


def test_cifar10_reads_torchvisions_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The real files are checked against known sums; these small ones stand in for them.
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rows = np.random.default_rng(0).integers(0, 256, (2, 3072), dtype=np.uint8)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(pickle.dumps({"data": rows, "labels": [3, 9]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class {number}" for number in range(10)]}))
    train, test = cifar10(str(tmp_path)), cifar10(str(tmp_path), split="validation")
    assert (len(train), len(test)) == (10, 2)
    assert torch.equal(torch.as_tensor(test.read(1)[0]), torch.from_numpy(rows[1].reshape(3, 32, 32)))
    assert test.read(1)[1] == 9


def test_labels_that_do_not_fit_are_told() -> None:
    pixels = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    with pytest.raises(UserError, match=r"has the label 2, and 2 classes \(0..1\)"):
        ArraySource(pixels, [0, 2], ["a", "b"])
    with pytest.raises(UserError, match="2 images and 1 labels"):
        ArraySource(pixels, [0], ["a", "b"])
