"""`triptych zero_shot`: colours by their names, captions and pictures by each other, probes, one picture."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import triptych
from triptych.command.start import start

from .conftest import World, small_pair

pytestmark = pytest.mark.slow

CPU = "device.accelerator=cpu"
PAIRS = """
# Pictures and captions of a table
defaults:
  - /schema/pairs@_here_
  - /schema/table_pairs@train
  - /schema/written_caption@train.caption
  - /schema/table_pairs@validation.val
  - /schema/written_caption@validation.val.caption
  - /schema/centre_crop@evaluate
  - augment: none
  - _self_
batch_size: 4
mean: [0.5, 0.5, 0.5]
std: [0.5, 0.5, 0.5]
train: {file: captions.csv}
validation: {val: {file: captions.csv, split: train, validation_fraction: 0.01}}
"""


def measured(*words: str) -> tuple[Path, dict[str, Any]]:
    """The directory and the numbers of a measurement that must go well."""
    assert start("zero_shot", [*words, CPU]) == 0
    runs = sorted(Path("outputs/zero_shot").glob("*/*"))
    return runs[-1], json.loads((runs[-1] / "summary.json").read_text())


def folder(world: World) -> list[str]:
    return [f"checkpoint={world.pair}", "data=folder", f"data.root={world.pictures}", "data.batch_size=4",
            "data.workers=0"]  # fmt: skip


def test_classes_by_their_names(world: World, in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, numbers = measured(*folder(world), "probe=true", "shots=[1,4]", "draws=3", "resamples=50")
    found = numbers["sets"]["val"]
    assert found["samples"] == 11
    assert found["classification"]["metrics"]["accuracy"]["value"] == 1.0
    assert found["classification"]["templates"] == ["a photo of a {}."]
    assert found["probes"]["linear"]["value"] == 1.0
    assert [(each["shots"], each["draws"], each["scarce"]) for each in found["probes"]["few_shot"]] == [
        (1, 3, 0), (4, 3, 0),
    ]  # fmt: skip
    assert found["probes"]["few_shot"][1]["mean"] > 0.6
    with (run / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 11
    for row in rows:
        assert row["guess_1"] == row["label"] == Path(row["name"]).parent.name
        assert row["rank"] == "1"
        assert sum(float(row[f"probability_{place}"]) for place in (1, 2, 3)) == pytest.approx(1)
    files = {path.name for path in run.rglob("*") if path.is_file()}
    assert files >= {"config.yaml", "report.html", "per_class.csv", "val_guesses.png", "val_confusion.png"}
    assert "4-shot probe" in (run / "report.html").read_text()
    printed = capsys.readouterr().out
    assert "3 classes, 'a photo of a {}.'" in printed
    assert "linear probe" in printed


def test_other_names_for_the_same_folders(world: World, in_tmp: Path) -> None:
    """Wrong names give wrong answers: it is the names in the file that are asked about."""
    Path("names.txt").write_text("blue\tred\ngreen\tgreen\nred\tblue\n")
    run, numbers = measured(*folder(world), "classes=names.txt", "templates={}|a drawing of {}", "predictions=parquet")
    found = numbers["sets"]["val"]["classification"]
    assert found["templates"] == ["{}", "a drawing of {}"]
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(2 / 11)
    assert (run / "predictions.parquet").is_file()


def test_captions_and_pictures_find_each_other(world: World, in_tmp: Path) -> None:
    """Five pictures have the captions of `blue`: each of the five is as likely to be first."""
    (in_tmp / "conf" / "data").mkdir(parents=True)
    (in_tmp / "conf" / "data" / "mine.yaml").write_text(PAIRS)
    words = [f"checkpoint={world.pair}", "data=mine", f"data.root={world.root}", "sets=[train]"]
    _, numbers = measured(*words, f"data.train.file={world.table}", f"data.validation.val.file={world.table}")
    found = numbers["sets"]["train"]["retrieval"]
    assert found["left_out"] == 0
    assert found["texts"] == 2 * found["images"]
    assert "classification" not in numbers["sets"]["train"]
    recalls = {name: each["value"] for name, each in found["metrics"].items() if "recall" in name}
    assert all(0 < value <= 1 for value in recalls.values())
    assert recalls["text_to_image_recall_at_10"] == 1.0
    assert recalls["text_to_image_recall_at_5"] > recalls["text_to_image_recall_at_1"]


def test_one_picture_at_once(world: World, in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = world.pictures / "val" / "red" / "00.png"
    asked = [f"checkpoint={world.pair}", f"image={picture}", CPU]
    assert start("zero_shot", [*asked, "labels=a photo of a blue, a photo of a red"]) == 0
    first, best, other = capsys.readouterr().out.splitlines()
    assert first == str(picture)
    assert best.split()[:5] == ["a", "photo", "of", "a", "red"]
    shares = [float(line.partition("%")[0].split()[-1]) for line in (best, other)]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert shares[0] > 50
    assert not Path("outputs").exists()
    assert start("zero_shot", [asked[0], f"image={world.pictures / 'val'}", "labels=blue,green,red", CPU]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11
    assert all(Path(line.split()[0]).parent.name == line.split()[1] for line in lines)


def test_a_model_with_a_bias_gives_each_label_its_own_probability(
    world: World, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    triptych.export(small_pair(bias=-10.0).eval(), in_tmp / "sigmoid")
    picture = world.pictures / "val" / "red" / "00.png"
    assert start("zero_shot", [f"checkpoint={in_tmp / 'sigmoid'}", f"image={picture}", "labels=red", CPU]) == 0
    (line,) = capsys.readouterr().out.splitlines()[1:]
    assert float(line.split()[1].rstrip("%")) < 90


MISTAKES = {
    "no labels": ("image={red}", "needs names to choose from: give labels='a cat,a dog', or classes=FILE"),
    "empty labels": ("image={red} labels=,", "labels is empty"),
    "a label twice": ("image={red} labels=red,red", "labels names 'red' twice"),
    "one label": ("image={red} labels=red", "so that one alone always gets 100%"),
    "no such image": ("image={red}x labels=red,blue", "does not exist; did you mean '00.png'"),
    "a text for an image": ("image={table} labels=red,blue", "none of the 1 given images can be read"),
    "image and data": ("image={red} labels=red,blue data=folder data.root=x", "ask about different images"),
    "labels for data": ("{folder} labels=red,blue", "labels=... goes with image=..."),
    "no template": ("{folder} templates=", "templates"),
    "template without a place": ("{folder} templates=a~photo", "the template 'a photo' has no {{}}"),
    "unknown set of templates": ("{folder} templates=imagnet", "did you mean 'imagenet'"),
    "missing file of templates": ("{folder} templates=./my.txt", "templates=./my.txt is neither a file nor a set"),
    "a file without a place": ("{folder} templates={table}", "'path,caption' has no {{}}"),
    "missing classes": ("{folder} classes=./my.txt", "classes=./my.txt is neither a file nor a list"),
    "fewer classes": ("{folder} classes={two}", "names 2 of the 3 classes of the set 'val' and not 'red'"),
    "other classes": ("{folder} classes={other}", "names 2 classes, and the set 'val' has 3"),
    "no shots": ("{folder} shots=[0]", "shots has 0; each must be at least 1"),
    "no such set": ("{folder} sets=[vall]", "sets has 'vall'"),
    "retrieval without captions": ("{folder} measure=retrieval", "has no captions"),
    "no data": ("", "is not in a run directory, so nothing tells its data: give data=..."),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_mistakes_are_told_in_one_message(
    what: str, world: World, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, message = MISTAKES[what]
    Path("two.txt").write_text("blue\ngreen\n")
    Path("other.txt").write_text("cat\ndog\n")
    names = {
        "red": str(world.pictures / "val" / "red" / "00.png"), "table": str(world.table), "two": "two.txt",
        "other": "other.txt", "folder": " ".join(folder(world)[1:]),
    }  # fmt: skip
    given = [word.replace("~", " ") for word in words.format(**names).split()]
    assert start("zero_shot", [f"checkpoint={world.pair}", *given, CPU]) == 2
    error = capsys.readouterr().err
    assert error.count("error: ") == 1
    assert message.format() in error
    assert "Traceback" not in error
    assert not Path("outputs").exists()


def test_a_classifier_is_sent_to_evaluate(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = {"tower.dim": 16, "tower.depth": 1, "tower.image_size": 16, "tower.mixer.heads": 2}
    triptych.export(triptych.create("vit_tiny_patch16_224", num_classes=3, overrides=overrides), in_tmp / "classifier")
    Path("a.png").touch()
    assert start("zero_shot", [f"checkpoint={in_tmp / 'classifier'}", "image=a.png", "labels=a,b", CPU]) == 2
    assert "holds a classifier of 3 classes, and zero_shot needs a model with an image and a text tower" in (
        capsys.readouterr().err
    )
