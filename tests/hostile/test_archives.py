"""Shards of strangers: members that lead out, that promise what is not there, or whose index was made by hand."""

import gzip
import io
import os
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from triptych.data.shard_copies import Copies
from triptych.data.shard_index import SUFFIX, VERSION, load_index, unpack
from triptych.data.shards import ShardSource
from triptych.data.source import BadSample
from triptych.errors import UserError

from .corpus import Scene, bounded, evil, png, refused, tar

PICTURE = png(4, 4, zlib.compress(bytes(13 * 4)))
GOOD: list[tuple[Any, bytes]] = [("a.png", PICTURE), ("a.cls", b"0"), ("b.png", PICTURE), ("b.cls", b"1")]


def info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


def test_members_that_lead_out_are_only_names(scene: Scene) -> None:
    out = scene.outside
    tar(
        scene.here / "x.tar",
        [
            *GOOD, ("../../outside/letter.txt", b"overwritten"), (str(out / "letter.txt"), b"overwritten"),
            ("../outside/c.png", PICTURE), ("../outside/c.cls", b"0"),
            (info("link.png", tarfile.SYMTYPE, str(out / "letter.txt")), b""),
            (info("hard.png", tarfile.LNKTYPE, "../outside/letter.txt"), b""),
            (info("pipe.png", tarfile.FIFOTYPE), b""), (info("device.png", tarfile.CHRTYPE), b""),
            (info("inner", tarfile.SYMTYPE, str(out)), b""), ("inner/d.png", PICTURE), ("inner/d.cls", b"1"),
        ],
    )  # fmt: skip
    source = ShardSource(str(scene.here), label="cls")
    assert [source.name(index).rpartition("x.tar/")[2] for index in range(len(source))] == [
        "a", "b", "../outside/c", "inner/d",
    ]  # fmt: skip
    assert all(source.read(index)[0].shape == (3, 4, 4) for index in range(len(source)))


def test_pickles_in_shards_are_not_opened(scene: Scene) -> None:
    kinds = ("pyd", "pickle", "pkl", "pt", "pth", "npy", "npz")
    members = [(f"a.{kind}", evil(scene)) for kind in kinds]
    tar(scene.here / "x.tar", [*GOOD[:2], *members, *GOOD[2:]])
    source = ShardSource(str(scene.here), label="cls")
    assert [source.read(index)[1] for index in range(len(source))] == [0, 1]
    for label in ("pyd", "pickle"):
        with pytest.raises(UserError) as error:
            ShardSource(str(scene.here), label=label)
        refused(error, label)


def raw(
    name: bytes = b"a.png", size: bytes = b"00000000015\0", kind: bytes = b"0", content: bytes = b"x" * 13
) -> bytes:
    """A tar of one member, byte by byte."""
    head = bytearray(512)
    head[: len(name)] = name
    head[100:108], head[124:136], head[156:157], head[257:263] = b"0000644\0", size, kind, b"ustar\0"
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + content + bytes(-len(content) % 512) + bytes(1024)


BROKEN = {
    "a size beyond the file": raw(size=b"77777777777\0"),
    "a size of 2^60": raw(size=b"\x80" + (1 << 60).to_bytes(11, "big")),
    "a size below 0": raw(size=b"\xff" + (-4096 & (1 << 88) - 1).to_bytes(11, "big")),
    "no size": raw(size=b"nothing here"),
    "a name of the net that goes on": raw(kind=b"L", size=b"77777777777\0"),
    "a list of settings that goes on": raw(kind=b"x", size=b"77777777777\0"),
    "settings that are none": raw(kind=b"x", content=b"99 path=\n" + bytes(4)),
    "a setting of a size": raw(kind=b"x", content=b"13 size=-9999" + b"\n"),
    "a map of holes": raw(kind=b"S", size=b"77777777777\0"),
    "nothing": b"",
    "one byte": b"\0",
    "zeros": bytes(5000),
    "text": b"no archive" * 100,
    "a pickle": b"\x80\x04cos\nsystem\n(S'touch ../canary'\ntR." + bytes(1000),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_tar_is_told(kind: str, scene: Scene) -> None:
    path = scene.here / "x.tar"
    path.write_bytes(BROKEN[kind])
    with bounded(64, 5), pytest.raises(UserError) as error:
        ShardSource(str(scene.here), label="cls")
    refused(error, "x.tar")


def test_a_hole_of_a_terabyte_takes_no_memory(scene: Scene) -> None:
    hole = info("hole.png")
    hole.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 40),
                        "GNU.sparse.name": "hole.png"}  # fmt: skip
    tar(scene.here / "x.tar", [*GOOD, (hole, b"1\n0\n13\n" + bytes(505) + b"x" * 13)])
    with bounded(64, 5):
        assert len(ShardSource(str(scene.here), label="cls")) == 2


def test_names_longer_than_the_shard_are_refused(scene: Scene) -> None:
    long = "n" * (1 << 20)
    tar(scene.here / "x.tar", [(f"{long}.png", b""), *((f"{number}.png", b"") for number in range(2000))])
    with bounded(200, 20), pytest.raises(UserError) as error:
        load_index(scene.here / "x.tar")
    refused(error, "names of members that are longer than what is in it")


def test_bytes_that_are_no_text_in_a_name_do_no_harm(scene: Scene) -> None:
    (scene.here / "x.tar").write_bytes(raw(name=b"\xff\xfe.png"))
    index = load_index(scene.here / "x.tar")
    assert index.keys.tolist() == [b"\xff\xfe"]


def test_a_tar_in_a_tar_is_a_file(scene: Scene) -> None:
    inner = tar(scene.here / "inner.tar", GOOD).read_bytes()
    for _ in range(20):
        inner = tar(scene.here / "inner.tar", [("a.png", inner), ("a.cls", b"0")]).read_bytes()
    source = ShardSource(str(scene.here), label="cls")
    with pytest.raises(BadSample, match="not an image"):
        source.read(0)


def test_a_packed_shard_that_would_fill_the_memory_is_refused(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triptych.data.shard_index.LARGEST_UNPACKED", 1 << 24)
    path = scene.here / "x.tar.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(256):
            file.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 20
    with bounded(128, 10), pytest.raises(UserError) as error:
        unpack(path)
    refused(error, "x.tar.gz", "more than 16 MiB unpacked")


def kept(path: Path, changed: dict[str, Any], compress: bool = False) -> None:
    """An index beside a shard, as anybody can make one, for its very size and time."""
    state = path.stat()
    parts: dict[str, Any] = {
        "stamp": np.array((VERSION, state.st_size, state.st_mtime_ns)), "keys": np.array([b"a", b"b"]),
        "kinds": np.array(["png", "cls"]), "sample": np.array([0, 0, 1, 1]), "kind": np.array([0, 1, 0, 1]),
        "offset": np.array([512, 1536, 2560, 3584]), "size": np.array([1, 1, 1, 1]), **changed,
    }  # fmt: skip
    file = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(file, allow_pickle=True, **parts)
    path.with_name(path.name + SUFFIX).write_bytes(file.getvalue())


INDICES: dict[str, dict[str, Any]] = {
    "a pickle": {"keys": None},
    "beyond the shard": {"offset": np.array([0, 0, 0, 1 << 40])},
    "before the shard": {"offset": np.array([-512, 0, 0, 0])},
    "sizes below 0": {"size": np.array([-1, 1, 1, 1])},
    "sizes that run over": {"size": np.array([2**63 - 1, 1, 1, 1])},
    "samples that are not there": {"sample": np.array([0, 0, 1, 9])},
    "kinds that are not there": {"kind": np.array([0, 1, 0, -3])},
    "fractions": {"offset": np.array([0.5, 1, 1, 1])},
    "shorter": {"size": np.array([1])},
    "of two dimensions": {"sample": np.zeros((2, 2), np.int64)},
    "keys that are numbers": {"keys": np.array([1.0, 2.0])},
    "kinds that are numbers": {"kinds": np.array([1, 2])},
    "a bomb": {"keys": np.zeros(1 << 25, "S8")},
}


@pytest.mark.parametrize("kind", INDICES)
def test_an_index_that_lies_is_made_again(kind: str, scene: Scene) -> None:
    path = tar(scene.here / "x.tar", GOOD)
    lie = INDICES[kind]
    kept(path, {"keys": np.array([{"a": _Call(scene)}], object)} if kind == "a pickle" else lie, kind == "a bomb")
    with bounded(128, 10):
        source = ShardSource(str(scene.here), label="cls")
    assert [source.read(index)[1] for index in range(len(source))] == [0, 1]
    assert source.encoded(0) == PICTURE


class _Call:
    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.scene.canary}",)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a": ' * 5000, "9" * 100_000, "null", "[1]", '{"cls": {"a": 1}}'])
def test_labels_that_are_traps_are_told(content: str, scene: Scene) -> None:
    tar(scene.here / "x.tar", [("a.png", PICTURE), ("a.json", content.encode())])
    with bounded(64, 5), pytest.raises(UserError) as error:
        ShardSource(str(scene.here), label="label")
    refused(error, "label")


@pytest.mark.parametrize("content", ["3", '{"classes": {"a": 1}}', '{"classes": [[1]]}'])
def test_facts_of_a_set_that_say_nothing_are_left(content: str, scene: Scene) -> None:
    tar(scene.here / "x.tar", GOOD)
    (scene.here / "info.json").write_text(content)
    assert ShardSource(str(scene.here), label="cls").classes == ["0", "1"]


@pytest.mark.parametrize("content", ["[" * 100_000, "[" * 500 + "]" * 500, "9" * 100_000, "\x00"])
def test_facts_of_a_set_that_are_traps_are_told(content: str, scene: Scene) -> None:
    tar(scene.here / "x.tar", GOOD)
    (scene.here / "info.json").write_text(content)
    with bounded(64, 5), pytest.raises(UserError) as error:
        ShardSource(str(scene.here), label="cls")
    refused(error, "info.json")


def test_a_label_of_10_to_the_9_does_not_make_as_many_classes(scene: Scene) -> None:
    tar(scene.here / "x.tar", [("a.png", PICTURE), ("a.cls", str(10**9).encode())])
    with bounded(64, 5), pytest.raises(UserError) as error:
        ShardSource(str(scene.here), label="cls")
    refused(error, "classes")


def test_room_is_made_among_fetched_files_only(scene: Scene) -> None:
    """A configuration may name any folder to keep fetched shards in."""
    copies = Copies(scene.here, limit=1)
    (scene.here / "backup.tar").write_bytes(b"all my pictures")
    (scene.here / ("0" * 32 + ".tar")).write_bytes(b"fetched long ago")
    name = "f" * 32 + ".tar"
    assert copies.read(name, lambda path: Path(path).write_bytes(b"new"), 0, 3) == b"new"
    assert sorted(path.name for path in scene.here.glob("*.tar")) == ["backup.tar", name]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_gives_samples_or_a_message(scene: Scene, data: st.DataObject) -> None:
    path = tar(scene.here / "x.tar", GOOD)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 4096))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
    path.with_name(path.name + SUFFIX).unlink(missing_ok=True)
    try:
        source = ShardSource(str(scene.here), label="cls")
    except UserError:
        return
    for index in range(len(source)):
        try:
            source.read(index)
        except (BadSample, UserError):
            continue
