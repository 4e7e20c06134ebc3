"""Shards are read in place, at random, through an index that is never stale, and nothing in them is ever run."""

import gzip
import json
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from webdataset.compat import WebDataset
from webdataset.writer import TarWriter

from triptych.data import shard_index
from triptych.data.shard_index import SUFFIX, load_index
from triptych.data.shards import ShardSource
from triptych.data.source import BadSample
from triptych.errors import UserError

WriteTar = Callable[[Path, dict[str, bytes]], Path]


def source(folder: Path, **options: Any) -> ShardSource:
    arguments: dict[str, Any] = {"label": "group"} | options
    return ShardSource(str(folder), **arguments)


def test_samples_in_the_order_of_the_shards(shards: Path, pixels: Callable[[int], Tensor]) -> None:
    data = source(shards)
    assert len(data) == 8
    assert data.classes == ["a", "b", "c"]
    for number in (7, 0, 3, 4):
        image, label = data.read(number)
        assert torch.equal(image, pixels(number))
        assert label == number % 3
    assert data.name(5) == f"{shards}/train-000001.tar/000005"


# Its reader leaves the file to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_reads_what_webdataset_wrote(tmp_path: Path, png: Callable[[int], bytes]) -> None:
    with TarWriter(str(tmp_path / "a.tar")) as sink:
        for number in range(5):
            fields = {"group": f"g{number % 2}"}
            sink.write({"__key__": f"sub/k{number}", "png": png(number), "json": fields})
    reader = WebDataset(str(tmp_path / "a.tar"), shardshuffle=False)
    theirs = [(sample["__key__"], sample["png"]) for sample in reader]
    data = source(tmp_path)
    assert [data.name(index).partition(".tar/")[2] for index in range(5)] == [key for key, _ in theirs]
    assert [data.read(index)[1] for index in range(5)] == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("members", [("txt", b"dog\n"), ("cls", b"1"), ("cls", b"dog")])
def test_plain_text_labels(
    members: tuple[str, bytes], tmp_path: Path, write_tar: WriteTar, png: Callable[[int], bytes]
) -> None:
    kind, content = members
    write_tar(tmp_path / "a.tar", {"x.png": png(0), f"x.{kind}": content})
    assert source(tmp_path, label=kind, classes=["cat", "dog"]).read(0)[1] == 1


def test_multilabel_targets(shards: Path) -> None:
    data = source(shards, label="tags", multilabel=True)
    assert data.classes == ["x", "y"]
    targets = [torch.as_tensor(data.read(index)[1]) for index in range(3)]
    assert torch.equal(torch.stack(targets), torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]))


@pytest.mark.parametrize(
    "facts", [{"classes": ["c", "b", "a"]}, {"groups": ["c", "b", "a"]}, {"classes": {"group": ["c", "b", "a"]}}]
)
def test_class_names_of_info(facts: dict[str, object], shards: Path) -> None:
    (shards / "info.json").write_text(json.dumps(facts))
    assert source(shards).classes == ["c", "b", "a"]
    assert source(shards).read(0)[1] == 2


class TestIndex:
    def test_is_kept_beside_the_shard_and_used(self, shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = source(shards)
        assert sorted(entry.name for entry in shards.glob("*" + SUFFIX)) == [
            f"train-00000{i}.tar{SUFFIX}" for i in (0, 1)
        ]

        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("the tar was read through again")

        monkeypatch.setattr(tarfile, "open", refuse)
        again = source(shards)
        assert [again.name(i) for i in range(8)] == [first.name(i) for i in range(8)]

    def test_of_a_changed_shard_is_made_again(
        self, shards: Path, write_tar: WriteTar, png: Callable[[int], bytes], pixels: Callable[[int], Tensor]
    ) -> None:
        source(shards)
        shard = shards / "train-000000.tar"
        write_tar(shard, {"new.json": b'{"group": "b"}', "new.png": png(77)})
        data = source(shards)
        assert len(data) == 5
        assert torch.equal(data.read(0)[0], pixels(77))

    def test_of_the_same_size_and_another_time_is_made_again(self, shards: Path) -> None:
        shard = shards / "train-000000.tar"
        load_index(shard)
        content = shard.read_bytes().replace(b"000000.png", b"zzzzzz.png")
        # The checksum of a tar header is the sum of its bytes.
        moved = sum(b"zzzzzz") - sum(b"000000")
        old = int(content[148:154], 8)
        shard.write_bytes(content[:148] + b"%06o" % (old + moved) + content[154:])
        os.utime(shard, ns=(1, 1))
        assert load_index(shard).keys[0] == b"zzzzzz"

    @pytest.mark.parametrize("damage", [b"", b"PK\3\4 no zip", b"\0" * 100])
    def test_that_is_broken_is_made_again(self, shards: Path, damage: bytes) -> None:
        source(shards)
        for kept in shards.glob("*" + SUFFIX):
            kept.write_bytes(damage)
        assert len(source(shards)) == 8

    def test_with_a_pickle_in_it_is_not_opened(self, shards: Path, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> tuple[object, tuple[object, ...]]:
                return Path.touch, (tmp_path / "ran",)

        source(shards)
        (shards / f"train-000000.tar{SUFFIX}").write_bytes(pickle.dumps(Evil()))
        assert len(source(shards)) == 8
        assert not (tmp_path / "ran").exists()

    def test_goes_to_the_cache_folder_where_the_data_cannot_be_written(
        self, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        allowed = shard_index._write

        def read_only_data(place: Path, *rest: Any) -> bool:
            return False if place.parent == shards else allowed(place, *rest)

        monkeypatch.setattr(shard_index, "_write", read_only_data)
        source(shards)
        assert not list(shards.glob("*" + SUFFIX))
        assert len(list((tmp_path / "cache").rglob("*" + SUFFIX))) == 2
        monkeypatch.setattr(tarfile, "open", None)
        assert len(source(shards)) == 8

    def test_leaves_no_half_written_file(self, shards: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

        def full_disk(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", full_disk)
        assert len(source(shards)) == 8
        assert not [entry for entry in (*shards.iterdir(), *tmp_path.rglob("*" + SUFFIX)) if SUFFIX in entry.name]


def test_members_that_could_carry_code_are_never_opened(
    tmp_path: Path, write_tar: WriteTar, png: Callable[[int], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (tmp_path / "ran",)

    evil = pickle.dumps(Evil())
    members = {"x.png": png(1), "x.cls": b"0", "x.pyd": evil, "x.pickle": evil, "x.pt": evil, "x.npy": evil}
    write_tar(tmp_path / "a.tar", members)
    with caplog.at_level("INFO", "triptych.data"):
        source(tmp_path, label="cls").read(0)
    assert "never opened" in caplog.text
    assert not (tmp_path / "ran").exists()
    write_tar(tmp_path / "a.tar", {"x.pyd": evil, "x.cls": b"0"})
    with pytest.raises(UserError, match="no images in 1 shards"):
        source(tmp_path, label="cls")


def test_links_and_folders_in_a_tar_are_left_alone(tmp_path: Path, png: Callable[[int], bytes]) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(5))
    (tmp_path / "x.png").write_bytes(png(1))
    (tmp_path / "x.cls").write_text("0")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("y.png")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        archive.addfile(link)
        archive.add(tmp_path / "x.png", "../../x.png")
        archive.add(tmp_path / "x.cls", "../../x.cls")
    assert len(source(tmp_path, label="cls")) == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "a.tar",
        f"a.tar{SUFFIX}",
        "secret.png",
        "x.cls",
        "x.png",
    ]


def test_samples_that_cannot_be_read_say_why(tmp_path: Path, write_tar: WriteTar, png: Callable[[int], bytes]) -> None:
    write_tar(
        tmp_path / "a.tar",
        {
            "good.png": png(0), "good.json": b'{"group": "a"}',
            "cut.png": png(1)[:60], "cut.json": b'{"group": "a"}',
            "none.png": png(2),
            "json.png": png(3), "json.json": b"{",
            "field.png": png(4), "field.json": b'{"groop": "a"}',
            "gone.json": b'{"group": "a"}',
        },
    )  # fmt: skip
    data = source(tmp_path)
    assert len(data) == 5, "a label without an image is no sample"
    assert data.read(0)[1] == 0
    for index, reason in enumerate(
        ["cannot be decoded", "no member .json", "label cannot be read", "did you mean 'groop'"], 1
    ):
        with pytest.raises(BadSample, match=reason):
            data.read(index)


def test_a_shard_cut_while_it_is_used_gives_bad_samples(shards: Path) -> None:
    data = source(shards)
    os.truncate(shards / "train-000001.tar", 600)
    with pytest.raises(BadSample, match="the shard ends after"):
        data.read(7)


def test_a_copy_opens_its_own_files(shards: Path, pixels: Callable[[int], Tensor]) -> None:
    data = source(shards)
    data.read(0)
    copy = pickle.loads(pickle.dumps(data))
    assert not copy._store._files._files
    assert torch.equal(copy.read(6)[0], pixels(6))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "groop"}, r"has the label 'groop'.*did you mean 'group'"),
        ({"shards": "trian-*.tar"}, r"matches 'trian-\*.tar'.*train-000000.tar"),
        ({"label": "tags"}, "set multilabel=True"),
        ({"multilabel": True}, "set multilabel=False"),
        ({"classes": ["aa", "b", "c"]}, "value 'a', which is none of the 3 classes"),
    ],
)
def test_wrong_settings_are_told(shards: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        source(shards, **options)


def test_a_missing_folder_shows_its_neighbours(shards: Path) -> None:
    with pytest.raises(UserError, match=r"no 'shard'; did you mean 'shards'\?"):
        source(shards.parent / "shard")


@pytest.mark.parametrize("root", ["s3://bucket/x", "pipe:curl evil", "https://host/x"])
def test_remote_roots_are_refused(root: str) -> None:
    with pytest.raises(UserError, match="not a local folder"):
        ShardSource(root)


def test_broken_tars_are_told(shards: Path) -> None:
    shard = shards / "train-000001.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:1000])
    with pytest.raises(UserError, match=r"train-000001.tar.*(cut short|not a readable tar)"):
        source(shards)
    shard.write_bytes(gzip.compress(whole))
    with pytest.raises(UserError, match=r"needs a name that ends in .tar.gz"):
        source(shards)
    shard.write_bytes(b"")
    with pytest.raises(UserError, match=r"\(0 bytes\) is not a readable tar"):
        source(shards)


def test_an_unknown_class_later_on_is_told(tmp_path: Path, write_tar: WriteTar, png: Callable[[int], bytes]) -> None:
    write_tar(tmp_path / "a.tar", {"a.png": png(0), "a.txt": b"cat", "b.png": png(1), "b.txt": b"cot"})
    data = source(tmp_path, label="txt", classes=["cat"])
    with pytest.raises(UserError, match="'cot', which is none of the 1 classes; did you mean 'cat'"):
        data.read(1)


def test_compressed_shards_give_the_same(shards: Path) -> None:
    plain = source(shards)
    expected = [plain.read(index) for index in range(8)]
    for shard in sorted(shards.glob("*.tar")):
        shard.with_name(shard.name + ".gz").write_bytes(gzip.compress(shard.read_bytes()))
        shard.unlink()
    packed = source(shards, shards="train-*")
    assert len(packed) == 8
    for index, (image, label) in enumerate(expected):
        assert torch.equal(packed.read(index)[0], image)
        assert packed.read(index)[1] == label


@pytest.mark.parametrize("damage", [slice(0, 200), slice(30, None)])
def test_damaged_compressed_shards_are_told(shards: Path, damage: slice) -> None:
    (shards / "x.tar.gz").write_bytes(gzip.compress((shards / "train-000000.tar").read_bytes())[damage])
    with pytest.raises(UserError, match=r"x.tar.gz cannot be unpacked"):
        source(shards, shards="*.gz")


def test_compressed_shards_that_would_fill_the_memory_are_refused(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shards / "x.tar.gz").write_bytes(gzip.compress(b"\0" * (3 << 20)))
    monkeypatch.setattr(shard_index, "LARGEST_UNPACKED", 1 << 20)
    with pytest.raises(UserError, match="more than 1 MiB unpacked"):
        source(shards, shards="*.gz")
