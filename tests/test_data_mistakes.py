"""Wrong settings of data, for `triptych train` and `triptych doctor` alike: one readable message, exit code 2."""

import io
import random
from pathlib import Path

import pytest
from PIL import Image

from triptych.command.start import start

pytestmark = pytest.mark.slow

SMALL = [
    "data.batch_size=4", "data.workers=0", "model.tower.image_size=16", "model.tower.patch.patch_size=4",
    "model.tower.dim=8", "model.tower.depth=1", "model.tower.mixer.heads=2", "logger=null", "trainer.accelerator=cpu",
    "trainer.max_steps=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables and folders of data, right and wrong."""
    root = tmp_path_factory.mktemp("world")
    draw = random.Random(0)
    for kind in ("cat", "dog"):
        for number in range(10):
            buffer = io.BytesIO()
            Image.frombytes("RGB", (16, 16), draw.randbytes(768)).save(buffer, "png")
            for split in ("train", "val", "valid"):
                (root / "twice" / split / kind).mkdir(parents=True, exist_ok=True)
                (root / "twice" / split / kind / f"{number}.png").write_bytes(buffer.getvalue())
    rows = [f"twice/train/{kind}/{number}.png,{kind}" for kind in ("cat", "dog") for number in range(10)]

    def table(name: str, *lines: str) -> None:
        (root / name).write_text("\n".join(lines) + "\n")

    table("good.csv", "path,label", *rows)
    table("other.csv", "path,label", *(row.replace(",dog", ",dig") for row in rows))
    table("two.csv", "path,first,second", *(f"{row},{row[-3:]}" for row in rows))
    table("twice.csv", "path,label,label", *(f"{row},x" for row in rows))
    table("colons.csv", "path:label", *(row.replace(",", ":") for row in rows))
    table("header.csv", "path,label")
    table("gone.csv", "path,label", *(f"no/{row}" for row in rows))
    table("split.csv", "path,label,split", f"{rows[0]},train", *(f"{row},trian" for row in rows[1:]))
    table("ragged.csv", "path,label", *rows, "a.png,cat,dog")
    (root / "empty.csv").write_text("")
    (root / "table.xlsx").write_bytes(b"PK")
    (root / "broken.parquet").write_bytes(b"PAR1 and no more")
    (root / "empty").mkdir()
    return root


MANIFEST = ["data=manifest", "data.train.file={world}/good.csv"]


def file(name: str) -> list[str]:
    return ["data=manifest", f"data.train.file={{world}}/{name}"]


BOTH: dict[str, tuple[list[str], str]] = {
    "no manifest named": (["data=manifest"], "data.train.file is not set: give data.train.file=..."),
    "manifest that is not there": (file("god.csv"), "has no 'god.csv'; did you mean "),
    "empty manifest": (file("empty.csv"), "is empty: a manifest has a line with the names of its columns"),
    "header without rows": (file("header.csv"), "has a header (path, label) and no rows"),
    "column twice": (file("twice.csv"), "has 2 columns named 'label'"),
    "wrong delimiter": (file("colons.csv"), "has one column, 'path:label'"),
    "ragged line": (file("ragged.csv"), "line 22 has 3 cells, and the header names 2 columns"),
    "which column": (file("two.csv"), "2 columns could hold the labels (first, second). Name it: data.train.label="),
    "near-miss column": ([*MANIFEST, "data.train.label=lable"], "no column 'lable'; did you mean 'label'?"),
    "images elsewhere": (file("gone.csv"), "Relative paths start from the folder of the manifest; set data.root="),
    "a split that is none": (file("split.csv"), "has 'trian' in the column 'split', which names no split; did you"),
    "a spreadsheet": (file("table.xlsx"), "table.xlsx ends in .xlsx: a manifest is a table"),
    "a broken Parquet file": (file("broken.parquet"), "cannot be read as Parquet"),
    "unknown split": ([*MANIFEST, "data.train.split=trian"], "data.train.split=trian is out of range: one of train,"),
    "two kinds of labels": (
        [*MANIFEST, "data.train.label=label", "data.train.label_columns=[label]"], "give one or the other",
    ),
    "columns that are not 0 or 1": ([*MANIFEST, "data.train.label_columns=[label]"], "columns of labels hold 0 or 1"),
    "no data set named": (["data=datasets"], "no data set is named: give data.root=FOLDER or data.train.hub=NAME"),
    "an empty data set": (["data=datasets", "data.root={world}/empty"], "cannot be loaded: The directory at"),
    "a folder and a hub name": (
        ["data=datasets", "data.root={world}/empty", "data.train.hub=a/b"], "are both set: give data.root=FOLDER or",
    ),
    "two folders for a split": (["data=folder", "data.root={world}/twice"], "two folders for validation, 'val' and"),
    "a folder that is not there": (["data=folder", "data.root={world}/twise"], "did you mean 'twice'?"),
    "no folder named": (["data=folder"], "data.root is not set"),
}  # fmt: skip

TRAIN: dict[str, tuple[list[str], str]] = {
    "unknown class in validation": (
        [*MANIFEST, "data.validation.val.file={world}/other.csv"],
        "the data 'val' has the class 'dig', which is none of the 2 classes of the training data; did you mean 'dog'?",
    ),
    "several labels for one objective": ([*MANIFEST, "data.train.label_separator=|"], "choose objective=multi_label"),
}

DOCTOR: dict[str, tuple[list[str], str]] = {
    "no process": ([*MANIFEST, "processes=0"], "processes=0 is out of range: >= 1"),
    "a setting of training": ([*MANIFEST, "trainer.epochs=3"], "there is no setting 'trainer.epochs'"),
    "unknown key": ([*MANIFEST, "data.train.colum=x"], "there is no setting 'data.train.colum'"),
}

# The same sources tell them, so a few of each kind do for the other task.
ASKED_TWICE = (
    "no manifest named", "manifest that is not there", "near-miss column", "a split that is none",
    "no data set named", "two folders for a split", "a folder that is not there", "no folder named",
)  # fmt: skip

CASES = [
    *(("train", name, *case) for name, case in {**BOTH, **TRAIN}.items()),
    *(("doctor", name, *case) for name, case in {**{name: BOTH[name] for name in ASKED_TWICE}, **DOCTOR}.items()),
]


@pytest.mark.parametrize(("task", "name", "words", "message"), CASES, ids=[f"{case[0]}: {case[1]}" for case in CASES])
def test_mistake_is_one_message(
    task: str, name: str, words: list[str], message: str, world: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    words = [word.replace("{world}", str(world)) for word in words]
    assert start(task, [*words, *(SMALL if task == "train" else [])]) == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in captured.err + captured.out
    assert len(errors[0]) < 600
    assert list(tmp_path.iterdir()) == [], "a run that never began left something behind"
