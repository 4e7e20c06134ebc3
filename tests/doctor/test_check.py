"""Each fault that data can have is found, named, weighed and explained; sound data give no word above a note."""

import json
import os
import re
import shutil
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from triptych.command.start import start
from triptych.data.folder import FolderSource
from triptych.doctor import balance
from triptych.doctor.check import FAULTY, diagnose
from triptych.doctor.outputs import show
from triptych.rundir import RunDirectory

pytestmark = pytest.mark.slow

Make = Callable[..., Image.Image]
Damage = Callable[[Path, Make], Any]


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, dict[str, Any]]]:
    """`doctor("data=folder", ...)`: the exit code and what `doctor.json` says."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, dict[str, Any]]:
        code = start("doctor", [*words, "processes=1", f"output={tmp_path / 'runs'}"])
        (made,) = (tmp_path / "runs").glob("doctor/*/*/doctor.json")
        told = json.loads(made.read_text())
        shutil.rmtree(tmp_path / "runs" / "doctor" / told["name"])
        return code, told

    return run


def copy(source: str, target: str) -> Damage:
    return lambda root, _: shutil.copy(root / source, root / target)


def saved(name: str, change: Callable[[Image.Image], Image.Image], **options: Any) -> Damage:
    return lambda root, make: change(make(900)).save(root / name, **options)


def truncated(root: Path, make: Make) -> None:
    path = root / "train/cat/3.png"
    path.write_bytes(path.read_bytes()[:-60])


def animated(root: Path, make: Make) -> None:
    make(1).save(root / "train/cat/moving.gif", save_all=True, append_images=[make(2), make(3)])


def turned(root: Path, make: Make) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    make(900).save(root / "train/cat/turned.jpg", exif=exif)


def near(root: Path, make: Make) -> None:
    with Image.open(root / "train/dog/5.png") as image:
        image.resize((57, 49)).save(root / "val/dog/again.jpg", quality=70)


def sixteen(root: Path, make: Make) -> None:
    grey = np.random.default_rng(0).integers(0, 65536, (32, 32)).astype(np.uint16)
    Image.fromarray(grey).save(root / "train/cat/deep.png")


def renamed(old: str, new: str) -> Damage:
    return lambda root, _: (root / old).rename(root / new)


def many(folder: str, count: int) -> Damage:
    def damage(root: Path, make: Make) -> None:
        for number in range(count):
            make(1000 + number).save(root / folder / f"more{number}.png")

    return damage


def fewer(folder: str, left: int) -> Damage:
    def damage(root: Path, make: Make) -> None:
        for path in sorted((root / folder).iterdir())[left:]:
            path.unlink()

    return damage


def moved_deeper(root: Path, make: Make) -> None:
    for kind in ("cat", "dog"):
        (root / "train" / "animals" / kind).mkdir(parents=True)
        for path in (root / "train" / kind).iterdir():
            path.rename(root / "train" / "animals" / kind / path.name)
        (root / "train" / kind).rmdir()
    shutil.rmtree(root / "val")


def subfolder(root: Path, make: Make) -> None:
    (root / "train/cat/first_day").mkdir()
    (root / "train/cat/0.png").rename(root / "train/cat/first_day/0.png")


FAULTS: dict[str, tuple[Damage, str, str, int, str]] = {
    "cut short": (truncated, "corrupt_image", "error", 1, "train/cat/3.png (cannot be decoded"),
    "head alone": (
        lambda root, _: (root / "train/cat/3.png").write_bytes((root / "train/cat/3.png").read_bytes()[:20]),
        "corrupt_image", "error", 1, "train/cat/3.png",
    ),
    "without a byte": (
        lambda root, _: (root / "train/dog/2.png").write_bytes(b""), "empty_file", "error", 1, "train/dog/2.png",
    ),
    "text named png": (
        lambda root, _: (root / "val/dog/2.png").write_text("no image"), "no_image", "error", 1, "val/dog/2.png",
    ),
    "broken link": (
        lambda root, _: (root / "train/cat/link.png").symlink_to("gone.png"), "broken_link", "error", 1, "link.png",
    ),
    "ending that is not read": (
        lambda root, _: (root / "train/cat/x.heic").write_bytes(b"x"), "unsupported", "warning", 1, "train/cat/x.heic",
    ),
    "image without an ending": (renamed("train/cat/1.png", "train/cat/1"), "disguised_image", "warning", 1, "cat/1"),
    "format of another name": (renamed("train/cat/1.png", "train/cat/1.jpg"), "misnamed", "note", 1, "1.jpg (is PNG)"),
    "animation": (animated, "several_frames", "warning", 1, "moving.gif"),
    "cmyk": (saved("train/cat/c.jpg", lambda image: image.convert("CMYK")), "cmyk", "warning", 1, "c.jpg"),
    "transparency": (
        saved("train/cat/t.png", lambda image: image.convert("RGBA")), "transparent", "warning", 1, "t.png",
    ),
    "grey": (saved("train/cat/g.png", lambda image: image.convert("L")), "grey", "note", 1, "g.png"),
    "sixteen bits": (sixteen, "sixteen_bit", "warning", 1, "deep.png"),
    "turned by exif": (turned, "turned", "note", 1, "turned.jpg"),
    "twice in a split": (copy("train/cat/1.png", "train/cat/again.png"), "duplicate", "warning", 1, "again.png"),
    "two labels": (copy("train/cat/1.png", "train/dog/c.png"), "conflicting_labels", "error", 1, "c.png is dog"),
    "in two splits": (copy("train/cat/1.png", "val/cat/c.png"), "leak", "error", 1, "c.png (validation)"),
    "nearly in two splits": (near, "near_leak", "warning", 1, "again.jpg (validation)"),
    "class of validation alone": (
        renamed("val/dog", "val/dogs"), "class_not_in_training", "error", 1, "dogs (in validation)",
    ),
    "class of training alone": (
        lambda root, _: shutil.rmtree(root / "val/dog"), "class_not_validated", "warning", 1, "dog (not in validation)",
    ),
    "class without images": (lambda root, _: (root / "train/owl").mkdir(), "empty_class", "error", 1, "train/owl"),
    "names alike": (renamed("val/dog", "val/Dog "), "alike_names", "warning", 1, "'Dog ' and 'dog'"),
    "rare class": (many("train/cat", 230), "imbalance", "warning", 1, "dog (12 of 242)"),
    "too few": (fewer("train/dog", 4), "few_images", "warning", 1, "dog (4)"),
    "tiny": (saved("train/cat/s.png", lambda image: image.resize((9, 9))), "very_small", "warning", 1, "s.png"),
    "huge": (
        saved("train/cat/h.jpg", lambda image: Image.new("RGB", (6000, 4200))), "very_large", "warning", 1, "h.jpg",
    ),
    "long": (saved("train/cat/l.png", lambda image: image.resize((400, 40))), "extreme_aspect", "warning", 1, "l.png"),
    "many sizes": (saved("train/cat/m.png", lambda image: image.resize((40, 40))), "mixed_sizes", "note", 2, "40 x 40"),
    "hidden": (lambda root, _: (root / "train/cat/.DS_Store").write_bytes(b"x"), "hidden", "note", 1, ".DS_Store"),
    "system folder": (lambda root, _: (root / "__MACOSX").mkdir(), "hidden", "note", 1, "__MACOSX"),
    "other files": (lambda root, _: (root / "read.me").write_text("x"), "other_file", "note", 1, "read.me"),
    "loose": (copy("train/cat/1.png", "train/loose.png"), "loose_image", "warning", 1, "train/loose.png"),
    "nested": (subfolder, "nested_folder", "note", 1, "train/cat/first_day"),
    "class in a class": (moved_deeper, "class_inside_class", "warning", 2, "train/animals/cat"),
    "no classes": (
        lambda root, _: [shutil.rmtree(root / "train"), shutil.rmtree(root / "val"), (root / "a.txt").write_text("")],
        "no_classes", "error", 1, "set",
    ),
}  # fmt: skip


def settings(root: Path, **train: Any) -> dict[str, Any]:
    """Of `triptych doctor data=folder`, without the time that it takes to compose them."""
    part = {"_target_": "triptych.data.folder.FolderSource", "split": "train", "validation_fraction": 0.1, **train}
    data = {"root": str(root), "train": part, "validation": {"val": {**part, "split": "validation"}}}
    return {"name": "test", "processes": 1, "allow_targets": [], "data": data}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_found_and_explained(
    fault: str, sound: Path, make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, kind, severity, count, example = FAULTS[fault]
    damage(sound, make)
    diagnosis = diagnose(settings(sound))
    found = {each.kind: each for each in diagnosis.findings}
    assert kind in found, f"found only {sorted(found)}"
    each = found[kind]
    assert (each.severity, each.count) == (severity, count)
    assert any(example in case for case in each.examples)
    assert len(each.advice) > 5
    show(diagnosis, RunDirectory(tmp_path))
    printed = capsys.readouterr().out
    assert f"{severity:<8}{count:>6}  {each.text}" in printed
    assert f"-> {each.advice}" in printed
    # Nothing else of weight is made up: what comes along is another side of the same damage.
    sides = {
        "sixteen bits": {"grey"}, "loose": {"duplicate"}, "class in a class": {"few_images"},
        "class of validation alone": {"class_not_validated", "alike_names"},
        "names alike": {"class_not_in_training", "class_not_validated"}, "no classes": {"other_file"},
    }  # fmt: skip
    grave = {each.kind for each in found.values() if each.severity != "note"} - {kind}
    assert grave <= sides.get(fault, set())


def test_sound_data_pass(sound: Path, doctor: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    code, told = doctor("data=folder", f"data.root={sound}")
    assert code == 0
    assert [each for each in told["findings"] if each["severity"] != "note"] == []
    assert told["splits"] == {
        "train": {"images": 24, "classes": {"cat": 12, "dog": 12}},
        "validation": {"images": 8, "classes": {"cat": 4, "dog": 4}},
    }
    printed = capsys.readouterr().out
    assert "train: 24 images of 2 classes" in printed
    assert "\x1b" not in printed


def test_files_that_may_not_be_opened(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked, opened = sound / "train/cat/1.png", os.open

    def refuse(path: Path | str, flags: int, *more: Any, **named: Any) -> int:
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied")
        return opened(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", refuse)
    (found,) = [each for each in diagnose(settings(sound)).findings if each.kind == "unopened_file"]
    assert found.cases == (f"{locked} (cannot be opened: Permission denied)",)


def test_a_validation_part_is_the_one_of_training(sound: Path, make: Make) -> None:
    shutil.rmtree(sound / "val")
    many("train/cat", 9)(sound, make)
    splits = diagnose(settings(sound, validation_fraction=0.25)).splits
    for split in splits:
        source = FolderSource(str(sound), split=split.name, validation_fraction=0.25)
        assert split.names(range(len(split.seen))) == [source.name(row) for row in range(len(source))]
    assert [len(split.seen) for split in splits] == [25, 8]


def test_the_page_shows_all_and_needs_nothing(
    sound: Path, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fault in ("cut short", "in two splits", "tiny", "hidden"):
        FAULTS[fault][0](sound, make)
    (sound / "train/<b>bold & co").mkdir()
    monkeypatch.chdir(tmp_path)
    assert start("doctor", ["data=folder", f"data.root={sound}", "name=pets", "processes=1"]) == FAULTY
    (run,) = (tmp_path / "outputs/doctor/pets").iterdir()
    page = (run / "report.html").read_text()
    assert "2 errors" not in page, "three kinds: cut short, leaked, and the empty class"
    assert "3 errors, 1 warning" in page
    assert page.count("data:image/png;base64") == 4
    assert "<b>bold" not in page
    assert "train/&lt;b&gt;bold &amp; co" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert (run / "config.yaml").is_file()
    assert {path.name for path in (run / "plots").iterdir()} >= {"classes.png", "sizes.png", "samples_train.png"}


def test_manifests_and_datasets_are_looked_at(
    sound: Path, make: Make, doctor: Callable[..., Any], tmp_path: Path
) -> None:
    rows = [f"set/train/{kind}/{number}.png,{kind}" for kind in ("cat", "dog") for number in range(12)]
    rows += ["set/train/cat/0.png,dog", "set/train/cat/gone.png,cat"]
    (tmp_path / "t.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    code, told = doctor("data=manifest", "data.train.file=t.csv")
    found = {each["kind"]: each["severity"] for each in told["findings"]}
    assert code == FAULTY
    assert found["conflicting_labels"] == found["unopened_file"] == "error"
    datasets = pytest.importorskip("datasets")
    images = [str(sound / f"train/cat/{number % 12}.png") for number in range(24)]
    set_ = datasets.Dataset.from_dict({"image": images, "label": [number // 12 for number in range(24)]})
    set_ = set_.cast_column("image", datasets.Image()).cast_column("label", datasets.ClassLabel(names=["cat", "dog"]))
    set_.save_to_disk(str(tmp_path / "saved"))
    code, told = doctor("data=datasets", f"data.root={tmp_path / 'saved'}")
    assert code == FAULTY
    assert {each["kind"]: each["count"] for each in told["findings"]}["conflicting_labels"] == 12


def test_arrays_and_shards_are_looked_at(tmp_path: Path, sound: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    pixels[7] = pixels[3]
    for part, count in (("train", 40), ("t10k", 4)):
        for kind, array in (("images-idx3", pixels[-count:]), ("labels-idx1", np.arange(count, dtype=np.uint8) % 4)):
            head = struct.pack(f">{array.ndim + 1}I", 0x0800 + array.ndim, *array.shape)
            (tmp_path / f"{part}-{kind}-ubyte").write_bytes(head + array.tobytes())
    own = settings(tmp_path)
    for part in (own["data"]["train"], own["data"]["validation"]["val"]):
        part["_target_"] = "triptych.data.torchvision_sets.fashion_mnist"
        part |= {"_partial_": True}
        del part["validation_fraction"]
    found = {each.kind: each for each in diagnose(own).findings}
    assert found["duplicate"].examples == ("fashion_mnist train[7] = fashion_mnist train[3]",)
    assert found["leak"].count == 4
    assert "few_images" not in found
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for number in range(12):
            for kind in ("cat", "dog"):
                archive.add(sound / f"train/{kind}/{number}.png", f"{kind}{number}.png")
                (tmp_path / "label").write_text("cat" if number == 5 else kind)
                archive.add(tmp_path / "label", f"{kind}{number}.txt")
    shards = {"_target_": "triptych.data.shards.ShardSource", "_partial_": True, "label": "txt"}
    own["data"] |= {"train": shards, "validation": {"same": shards}}
    diagnosis = diagnose(own)
    found = {each.kind: each for each in diagnosis.findings}
    assert found["leak"].count == 24
    assert balance.counts(diagnosis.splits[0]) == {"cat": 13, "dog": 11}


def test_processes_see_what_one_sees(sound: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from triptych.doctor import crowd
    from triptych.doctor.tree import listings

    truncated(sound, make)
    parts: Any = listings(sound, 0.1)
    one = crowd.examine(parts, 1, lambda _: None)
    monkeypatch.setattr(crowd, "_WORTH_PROCESSES", 1)
    counted: list[int] = []
    two = crowd.examine(parts, 2, counted.append)
    assert [split.seen for split in one] == [split.seen for split in two]
    assert [split.labels for split in one] == [split.labels for split in two]
    assert sum(counted) == 32


def test_real_data_are_sound(shared_data: Path) -> None:
    own = settings(shared_data / "signdigits")
    diagnosis = diagnose({**own, "processes": os.cpu_count()})
    assert sum(len(split.seen) for split in diagnosis.splits) == 2062
    assert [each for each in diagnosis.findings if each.severity == "error"] == []
