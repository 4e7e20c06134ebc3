"""`triptych evaluate`: every sample once, the numbers of training's own validation, and what is planted is found."""

import csv
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from triptych.analysis.metrics import read_metrics
from triptych.command.start import start
from triptych.evaluation import outputs

from .conftest import COLOURS, World, draw_picture

pytestmark = pytest.mark.slow


def evaluated(*words: str) -> tuple[Path, dict[str, Any]]:
    """The directory and the numbers of an evaluation that must go well."""
    assert start("evaluate", [*words, "device.accelerator=cpu"]) == 0
    runs = sorted(Path("outputs/evaluate").glob("*/*"))
    return runs[-1], json.loads((runs[-1] / "metrics.json").read_text())


def rows(file: Path) -> list[dict[str, str]]:
    with file.open() as text:
        return list(csv.DictReader(text))


def test_the_run_s_own_validation_set_by_default(
    world: World, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, numbers = evaluated(f"checkpoint={world.run / 'checkpoints' / 'last'}", "probabilities=true")
    assert run.parent.name == "colours"
    (found,) = numbers["sets"].values()
    trained = read_metrics(world.run / "metrics.csv")
    assert found["samples"] == 21
    assert found["metrics"]["accuracy"]["value"] == trained.series("val/accuracy")[1][-1]
    assert found["metrics"]["log_loss"]["value"] == pytest.approx(trained.series("val/loss")[1][-1], rel=0.05)
    assert found["metrics"]["accuracy"]["low"] <= found["metrics"]["accuracy"]["value"]
    assert {path.name for path in run.rglob("*") if path.is_file()} >= {
        "config.yaml", "metrics.json", "per_class.csv", "predictions.csv", "report.html", "run.log",
        "val_confusion.png", "val_reliability.png",
    }  # fmt: skip
    told = rows(run / "predictions.csv")
    assert [int(row["index"]) for row in told] == list(range(21))
    assert sorted(row["name"] for row in told) == sorted(map(str, (world.pictures / "val").glob("*/*.png")))
    for row in told:
        assert row["label"] == Path(row["name"]).parent.name
        shares = {name: float(row[f"p({name})"]) for name in COLOURS}
        assert sum(shares.values()) == pytest.approx(1)
        assert max(shares, key=lambda name: shares[name]) == row["prediction"]
    printed = capsys.readouterr().out
    assert "accuracy" in printed
    assert str(run / "report.html") in printed


def test_several_sets_and_the_training_set(world: World, in_tmp: Path) -> None:
    run, numbers = evaluated(f"checkpoint={world.run}", "sets=[train,val]", "resamples=0")
    assert {name: each["samples"] for name, each in numbers["sets"].items()} == {"train": 45, "val": 21}
    assert numbers["sets"]["val"]["metrics"]["accuracy"]["low"] is None
    assert [row["set"] for row in rows(run / "per_class.csv")] == ["train"] * 3 + ["val"] * 3


def test_other_data_are_matched_by_the_names_of_the_classes(world: World, in_tmp: Path) -> None:
    """Two of the three classes, in folders of another order and number: labels do not shift."""
    draw = random.Random(1)
    for colour, count in (("red", 5), ("green", 3)):
        for number in range(count):
            draw_picture(in_tmp / "other" / "train" / colour / f"{number}.png", colour, draw, (40, 30))
    draw_picture(in_tmp / "other" / "val" / "red" / "0.png", "red", draw)
    run, numbers = evaluated(f"checkpoint={world.run}", "data=folder", f"data.root={in_tmp / 'other'}", "sets=[train]")
    (found,) = numbers["sets"].values()
    assert found["classes_without_samples"] == ["blue"]
    support = {row["class"]: int(row["support"]) for row in rows(run / "per_class.csv")}
    assert support == {"blue": 0, "green": 3, "red": 5}
    assert all(row["prediction"] == row["label"] for row in rows(run / "predictions.csv"))


def test_an_image_that_cannot_be_read_is_left_out_counted_and_named(world: World, in_tmp: Path) -> None:
    shutil.copytree(world.pictures, in_tmp / "pictures")
    bad = in_tmp / "pictures" / "val" / "green" / "03.png"
    bad.write_bytes(bad.read_bytes()[:50])
    run, numbers = evaluated(f"checkpoint={world.run}", f"data.root={in_tmp / 'pictures'}")
    (found,) = numbers["sets"].values()
    assert found["samples"] == 20
    assert [each["name"] for each in found["unreadable"]] == [str(bad)]
    assert str(bad) not in {row["name"] for row in rows(run / "predictions.csv")}
    assert str(bad) in (run / "run.log").read_text()
    assert str(bad) in (run / "report.html").read_text()


def test_planted_label_mistakes_lead_the_worst_mistakes(
    world: World, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """6 of 21 pictures lie in the folder of another class: they are the first six of the picture."""
    shutil.copytree(world.pictures, in_tmp / "pictures")
    planted = []
    for number, (colour, other) in enumerate([("red", "blue"), ("green", "red"), ("blue", "green")] * 2):
        source = in_tmp / "pictures" / "val" / colour / f"{number:02}.png"
        planted.append(str(shutil.move(source, source.parents[1] / other / f"planted_{number}.png")))
    shown: list[str] = []
    draw = outputs.draw_mistakes

    def spy(results: Any, image_of: Any, path: Path, most: int, name_of: Any) -> bool:
        return draw(results, lambda index: shown.append(name_of(index)) or image_of(index), path, most, name_of)

    monkeypatch.setattr(outputs, "draw_mistakes", spy)
    run, numbers = evaluated(f"checkpoint={world.run}", f"data.root={in_tmp / 'pictures'}", "worst=8")
    assert numbers["sets"]["val"]["metrics"]["accuracy"]["value"] < 1
    assert set(shown[:6]) == set(planted)
    with Image.open(run / "plots" / "val_mistakes.png") as picture:
        assert picture.width > 400


def test_parquet_holds_what_csv_holds(world: World, in_tmp: Path) -> None:
    from pyarrow import parquet

    evaluated(f"checkpoint={world.run}", "predictions=parquet", "name=columns")
    evaluated(f"checkpoint={world.run}", "name=text")
    told = parquet.read_table(next(Path("outputs").rglob("predictions.parquet"))).to_pylist()
    csv_file = next(Path("outputs").rglob("predictions.csv"))
    assert [{key: str(value) for key, value in row.items()} for row in told] == rows(csv_file)


def test_class_names_from_a_file(world: World, nameless: Path, in_tmp: Path) -> None:
    (in_tmp / "names.txt").write_text("blue\ngreen\nred\n")
    words = ["data=folder", f"data.root={world.pictures}", "checkpoint.classes=names.txt"]
    _, numbers = evaluated(f"checkpoint={nameless}", *words)
    _, own = evaluated(f"checkpoint={world.run}", "name=zz_own")
    assert numbers["sets"] == own["sets"]
    assert numbers["classes"] == ["blue", "green", "red"]
