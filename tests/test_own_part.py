"""The mixer that docs/extend.md shows, in a project of its own: chosen, trained, resumed, loaded."""

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import triptych

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "extend.md").read_text()
SMALL = [
    "model.tower.mixer=shared_query_key", "model.tower.position=learned", "data=folder", "name=own", "logger=null",
    "data.batch_size=4", "data.workers=0", "model.tower.image_size=16", "model.tower.patch.patch_size=4",
    "model.tower.dim=8", "model.tower.depth=1", "model.tower.mixer.heads=2", "trainer.threads=1",
    "trainer.accelerator=cpu", "trainer.max_steps=2", "data.root=pictures",
]  # fmt: skip


def shown(language: str, marker: str) -> str:
    """The one block of the page in `language` that holds `marker`."""
    (block,) = [text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if marker in text]
    return block


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "mypackage.py").write_text(shown("python", "class SharedQueryKey"))
    choice = tmp_path / "conf" / "model" / "tower" / "mixer" / "shared_query_key.yaml"
    choice.parent.mkdir(parents=True)
    choice.write_text(shown("yaml", "mypackage.SharedQueryKey"))
    draw = random.Random(0)
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(10):
            image = Image.frombytes("RGB", (16, 16), draw.randbytes(768))
            image.save(tmp_path / "pictures" / name / f"{number}.png")
    return tmp_path


def run(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "import sys; from triptych.cli import main; sys.exit(main())", "train", *words],
        cwd=project,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONSAFEPATH": "1"},  # as an installed `triptych`, which does not import from here
        timeout=300,
    )


def test_the_page_works_as_written(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run(project, *SMALL, "allow_targets=[mypackage]")
    assert done.returncode == 0, done.stderr
    (folder,) = (project / "outputs" / "train" / "own").iterdir()
    refused = run(project, f"resume={folder}", "trainer.max_steps=3")
    assert refused.returncode == 2
    assert "say it again with 'allow_targets=[mypackage]'" in refused.stderr
    resumed = run(project, f"resume={folder}", "trainer.max_steps=3", "allow_targets=[mypackage]")
    assert resumed.returncode == 0, resumed.stderr
    monkeypatch.syspath_prepend(str(project))
    model = triptych.load(folder, allow=("mypackage",))
    assert model.get_submodule("tower.stack.blocks.0.mixer.key").bias is None
    assert model(torch.zeros(1, 3, 16, 16)).shape == (1, 2)


def test_a_choice_that_sets_unknown_keys_names_its_file_and_the_way_out(project: Path) -> None:
    choice = project / "conf" / "model" / "tower" / "mixer" / "shared_query_key.yaml"
    choice.write_text("_target_: mypackage.SharedQueryKey\n_partial_: true\n")
    failed = run(project, *SMALL, "allow_targets=[mypackage]")
    assert failed.returncode == 2
    assert "shared_query_key.yaml sets '_partial_'" in failed.stderr
    assert "/schema/own@_here_" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


def test_a_package_that_is_not_there_is_named(project: Path) -> None:
    (project / "mypackage.py").unlink()
    failed = run(project, *SMALL, "allow_targets=[mypackage]")
    assert failed.returncode == 2
    assert "names the package mypackage, which cannot be imported" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
    assert not (project / "outputs").exists()
