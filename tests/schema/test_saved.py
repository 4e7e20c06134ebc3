"""A saved configuration comes back with its types, and a resume may change settings but not parts."""

from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from triptych.command import messages
from triptych.errors import UserError
from triptych.schema import register, saved
from triptych.schema.check import documented


@pytest.fixture
def file(tmp_path: Path) -> Path:
    register()
    config = messages.compose_plain("train", ["name=test", "optimizer=muon", "model/tower/position=rotary"])
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(OmegaConf.to_container(config, resolve=True)), encoding="utf-8")
    return path


def test_it_comes_back_equal_and_typed(file: Path) -> None:
    config = saved.read(file)
    assert OmegaConf.to_container(config) == yaml.safe_load(file.read_text(encoding="utf-8"))
    assert (
        documented(config).keys()
        == documented(
            messages.compose_plain("train", ["name=x", "optimizer=muon", "model/tower/position=rotary"])
        ).keys()
    )


def test_settings_change_and_say_so(file: Path) -> None:
    config = saved.read(file)
    changes = saved.change(config, ["resume=somewhere", "trainer.epochs=8", "optimizer.momentum=0.95"])
    assert len(changes) == 1
    assert changes[0].startswith("trainer.epochs: ")
    assert config.trainer.epochs == 8


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer=adamw", "chooses another part, but a resumed run keeps the parts it was started with"),
        ("experiment=emoji", "chooses another part"),
        (
            "optimizer.momentm=1",
            "no setting 'optimizer.momentm' in the saved configuration. Did you mean 'optimizer.mo",
        ),
        ("trainer.epochs=many", "trainer.epochs: Value 'many'"),
    ],
)
def test_what_a_resume_cannot_change(file: Path, override: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        saved.change(saved.read(file), [override])
    assert message in str(error.value)


def test_a_foreign_file_is_told(tmp_path: Path) -> None:
    register()
    path = tmp_path / "config.yaml"
    path.write_text("optimiser: {lr: 3}\n", encoding="utf-8")
    with pytest.raises(UserError, match="is not a configuration that this version of triptych can read"):
        saved.read(path)
