"""`triptych predict`: any input, each image once and as the model itself sees it, and nothing else on stdout."""

import csv
import io
import json
import random
import sys
from pathlib import Path

import pytest
from PIL import Image

import triptych
from triptych.command.start import start
from triptych.data.decode import decode_image
from triptych.models.classifier import Classifier

from .conftest import COLOURS, World, draw_picture

pytestmark = pytest.mark.slow


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    """Standard output and standard error of a prediction."""
    assert start("predict", [*words, "device.accelerator=cpu"]) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.out, captured.err


class Piped:
    """Standard input with bytes in it."""

    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


def test_a_folder_to_csv_agrees_with_the_model_itself(
    world: World, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"checkpoint={world.run}", f"input={world.pictures}", "output=said.csv", "top=2", "batch_size=7"]
    out, err = told(capsys, *words)
    assert (out, "66 images told in said.csv" in err) == ("", True)
    with (in_tmp / "said.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["file"] for row in rows) == sorted(map(str, world.pictures.glob("*/*/*.png")))
    model = triptych.load(world.run)
    assert isinstance(model, Classifier)
    for row in rows[::9]:
        image = model.preprocess(decode_image(Path(row["file"]).read_bytes()))
        best, places = model(image[None])[0].softmax(dim=-1).topk(2)
        assert [row["label"], row["label_2"]] == [sorted(COLOURS)[place] for place in places]
        assert [float(row["probability"]), float(row["probability_2"])] == pytest.approx(best.tolist(), abs=1e-5)


def test_patterns_lists_and_images_on_standard_input(
    world: World, in_tmp: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One picture, named in four ways, is told the same; the name of one has characters of a pattern in it."""
    picture = in_tmp / "a [1] ü.png"
    draw_picture(picture, "green", random.Random(3), (33, 21))
    words = [f"checkpoint={world.run}", "output=-", "format=jsonl"]
    found = []
    for given in (str(picture), f"{in_tmp}/*ü.png"):
        found.append(json.loads(told(capsys, *words, f"input={given}")[0]))
    for data in (f"{picture}\n\n".encode(), picture.read_bytes()):
        monkeypatch.setattr(sys, "stdin", Piped(data))
        found.append(json.loads(told(capsys, *words, "input=-")[0]))
    assert [each["file"] for each in found] == [str(picture)] * 3 + ["standard input"]
    assert all(each["classes"] == found[0]["classes"] for each in found)
    assert found[0]["classes"][0]["label"] == "green"
    assert sum(each["probability"] for each in found[0]["classes"]) == pytest.approx(1)


def test_pictures_turned_by_their_camera_are_set_upright(
    world: World, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = random.Random(5)
    pixels = Image.frombytes("RGB", (24, 24), draw.randbytes(3 * 24 * 24))
    pixels.save(in_tmp / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise when shown
    pixels.transpose(Image.Transpose.ROTATE_90).save(in_tmp / "turned.png", exif=exif)
    out, _ = told(capsys, f"checkpoint={world.run}", f"input={in_tmp}", "output=-", "format=json")
    first, second = json.loads(out)
    assert first["classes"] == second["classes"]


def test_what_cannot_be_read_is_named_and_counted(
    world: World, in_tmp: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_picture(in_tmp / "good.png", "red", random.Random(1))
    (in_tmp / "bad.png").write_bytes(b"no image\0")
    monkeypatch.setattr(sys, "stdin", Piped(b"good.png\nbad.png\ngone.png\n"))
    out, err = told(capsys, f"checkpoint={world.run}", "input=-", "output=-")
    assert [line.split(",")[0] for line in out.splitlines()] == ["file", "good.png"]
    assert "left out bad.png: not an image" in err
    assert "left out gone.png: cannot be opened: No such file" in err
    assert "2 of 3 images could not be read" in err


def test_tables_for_people(world: World, nameless: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, colour in enumerate(("red", "blue")):
        draw_picture(in_tmp / "many" / f"{number}.png", colour, random.Random(number))
    one, _ = told(capsys, f"checkpoint={world.run}", "input=many/0.png", "top=2")
    assert one.splitlines()[0] == "many/0.png"
    assert one.splitlines()[1].split()[0] == "red"
    assert len(one.splitlines()) == 3
    many, err = told(capsys, f"checkpoint={nameless}", "input=many")
    assert [line.split()[:2] for line in many.splitlines()] == [["many/0.png", "2"], ["many/1.png", "0"]]
    assert "does not name its classes: their numbers stand for them" in err


def test_several_labels_are_those_above_the_threshold(
    world: World, several_labels: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = next((world.pictures / "val" / "red").iterdir())
    model = triptych.load(several_labels)
    assert isinstance(model, Classifier)
    shares = model(model.preprocess(decode_image(picture.read_bytes()))[None])[0].sigmoid().sort(descending=True)[0]
    for count in (0, 1, 2, 3):
        bounds = [1.0, *shares.tolist(), 0.0]
        threshold = (bounds[count] + bounds[count + 1]) / 2
        words = [f"checkpoint={several_labels}", f"input={picture}", "output=-", "format=json"]
        out, _ = told(capsys, *words, f"threshold={threshold}")
        assert len(json.loads(out)[0]["classes"]) == count


MISTAKES: dict[str, tuple[list[str], str]] = {
    "no input": ([], "input is not set"),
    "no such file": (["input={tmp}/god.png"], "god.png does not exist; did you mean 'good.png'?"),
    "an empty folder": (["input={tmp}/empty"], "is a folder without images: files that end in jpg"),
    "a pattern that matches nothing": (["input={tmp}/*.tif"], "matches no file"),
    "not an image": (["input={tmp}/file.txt"], "none of the 1 given images can be read"),
    "nothing on standard input": (["input=-"], "there was nothing: pipe an image or a list of files into it"),
    "no such checkpoint": (["input={tmp}/good.png", "checkpoint={tmp}/gone"], "gone does not exist"),
    "a checkpoint that is none": (["input={tmp}/good.png", "checkpoint={tmp}/file.txt"], "triptych.load reads"),
    "an output that exists": (["input={tmp}/good.png", "output={tmp}/old.csv"], "exists: choose another name"),
    "an output of no known form": (["input={tmp}/good.png", "output=said.xlsx"], "ends in '.xlsx', which tells"),
    "an output in no folder": (["input={tmp}/good.png", "output=gone/said.csv"], "in a folder that does not exist"),
    "no classes at all": (["input={tmp}/good.png", "top=0"], "top=0 is out of range: >= 1"),
    "a form that is none": (["input={tmp}/good.png", "format=xml"], "format=xml is out of range: one of csv"),
    "weights that are none": (["input={tmp}/good.png", "checkpoint.weights=avg"], "one of ema, raw"),
    "an unknown setting": (["input={tmp}/good.png", "inptu=x"], "there is no setting 'inptu'. Did you mean 'input'"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_one_message(
    mistake: str,
    world: World,
    in_tmp: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw_picture(in_tmp / "good.png", "red", random.Random(0))
    (in_tmp / "empty").mkdir()
    (in_tmp / "file.txt").write_text("a file")
    (in_tmp / "old.csv").write_text("old")
    monkeypatch.setattr(sys, "stdin", Piped(b""))
    before = sorted(in_tmp.rglob("*"))
    words, message = MISTAKES[mistake]
    words = [word.replace("{tmp}", str(in_tmp)) for word in words]
    if not any(word.startswith("checkpoint=") for word in words):
        words.append(f"checkpoint={world.run}")
    out, err = told(capsys, *words, code=2)
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert len(errors[0]) < 600
    assert out == ""
    assert sorted(in_tmp.rglob("*")) == before
    assert (in_tmp / "old.csv").read_text() == "old"


def test_an_old_output_is_replaced_when_asked(world: World, in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (in_tmp / "said.jsonl").write_text("old")
    picture = next((world.pictures / "val" / "red").iterdir())
    told(capsys, f"checkpoint={world.run}", f"input={picture}", "output=said.jsonl", "overwrite=true")
    assert json.loads((in_tmp / "said.jsonl").read_text())["file"] == str(picture)
