"""Configurations of strangers: run directories whose config.yaml wants to run, to read or to write something."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf
from PIL import Image

from triptych.build import MODEL_PACKAGES, RUN_PACKAGES, build
from triptych.cli import main
from triptych.command import messages
from triptych.errors import UserError
from triptych.schema import register

from .corpus import Scene, bounded, checkpoint_of, refused

CODE = [
    "os.system", "posix.system", "subprocess.run", "builtins.exec", "builtins.eval", "builtins.open", "shutil.rmtree",
    "pickle.loads", "importlib.import_module", "runpy.run_path", "ctypes.CDLL", "pathlib.Path.write_text",
    "hydra.utils.instantiate", "hydra.utils.get_method", "omegaconf.OmegaConf.register_new_resolver", "webbrowser.open",
    "torch.load", "torch.save", "torch.hub.load", "torch.jit.load", "torch.from_file", "torch.PyTorchFileWriter",
    "torch.PyTorchFileReader", "torch.utils.tensorboard.SummaryWriter", "torch.compiler.load_cache_artifacts",
    "torch.utils.data.datapipes.utils.decoder.basichandlers", "torch.utils.cpp_extension.load_inline",
    "torch.distributed.broadcast_object_list", "torch.distributed.FileStore", "torch.distributed.checkpoint.load",
    "torch.cuda.memory.os.system", "torch.nn.modules.module.functools.reduce", "torchvision.datasets.CIFAR10",
    "torchvision.io.write_file", "torchaudio.save", "timm.models.load_checkpoint", "timm.utils.CheckpointSaver",
    "timm.models.repghost.repghost_model_convert", "timm.data.create_dataset", "lightning.pytorch.Trainer",
    "lightning.pytorch.callbacks.ModelCheckpoint", "lightning.pytorch.callbacks.LambdaCallback",
    "lightning.pytorch.loggers.LitLogger", "lightning.fabric.utilities.cloud_io.get_filesystem",
    "torchmetrics.text.BERTScore", "torchmetrics.detection.MeanAveragePrecision", "triptych.run.train",
    "triptych.rundir.files.write_atomic", "triptych.rundir.RunDirectory.create", "triptych.checkpoints.load.load",
    "triptych.checkpoints.files.remove_folder", "triptych.callbacks.saves.Saves", "triptych.parallel.launch.launch",
    "triptych.plain.read_bytes", "triptych.data.files.read_sample_file", "triptych.data.shard_copies.Copies",
    "triptych.data.shard_index.keep_index", "triptych.data.shards.json.loads", "triptych.release.export.export",
    "triptych.features.json_tokenizer.JsonTokenizer.save", "triptych.build.build", "triptych.command.start.start",
]  # fmt: skip


@pytest.mark.parametrize("allow", [RUN_PACKAGES, MODEL_PACKAGES], ids=["run", "model"])
@pytest.mark.parametrize("target", CODE)
@pytest.mark.parametrize("partial", [True, False], ids=["partial", "called"])
def test_what_runs_reads_or_writes_cannot_be_named(target: str, partial: bool, allow: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as error:
        build({"parts": [{"_target_": target, "_args_": ["touch ../canary"], "_partial_": partial}]}, allow)
    refused(error, "parts[0]._target_", target, "not allowed", "allow_targets=[PACKAGE]")


def test_hydras_own_words_open_no_way(scene: Scene) -> None:
    """`_recursive_`, `_convert_`, `_args_` that are no lists, targets that are nested in arguments."""
    inner = {"_target_": "os.system", "_args_": [f"touch {scene.canary}"]}
    for node in (
        {"_target_": "torch.nn.Sequential", "_args_": [inner], "_recursive_": False},
        {"_target_": "torch.nn.Sequential", "_args_": [{"a": [inner]}], "_recursive_": False, "_convert_": "none"},
        {"_target_": "torch.nn.Sequential", "_args_": inner},
        {"_target_": "torch.nn.ModuleDict", "modules": {"a": inner}, "_partial_": "os.system"},
        {"_target_": ["os", "system"]},
        {"_target_": "torch.nn.Sequential", "_args_": ["${oc.env:TRIPTYCH_TEST_SECRET}"]},
    ):
        with pytest.raises(UserError) as error:
            build(node)
        assert "planted-secret" not in refused(error)


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    """What a run saves of itself."""
    register()
    words = ["name=test", "data=folder", "data.root=pictures", "trainer.accelerator=cpu", "model=vit_nano_patch16_64"]
    config = messages.compose_plain("train", words)
    config.logger = None
    return json.loads(json.dumps(OmegaConf.to_container(config, resolve=True)))


def run_of(scene: Scene, content: Any) -> Path:
    """A run directory that says this of itself, with a checkpoint."""
    run = scene.here / "run"
    run.mkdir()
    text = content if isinstance(content, str) else yaml.safe_dump(content)
    (run / "config.yaml").write_text(text)
    checkpoint_of(run / "checkpoints" / "step_0000001", global_step=1, epoch=0)
    (run / "checkpoints" / "last").symlink_to("step_0000001")
    return run


def told(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command ends with."""
    with bounded(600, 30):
        assert main(words) == 2
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    assert "planted-secret" not in printed.err + printed.out
    lines = printed.err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    return lines[-1]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finds out what is to be resumed without Hydra, which takes a second for it."""

    def asked(task: str, words: list[str]) -> Any:
        return OmegaConf.create({"resume": words[0].removeprefix("resume=").strip("'"), "launcher": None})

    monkeypatch.setattr(messages, "compose_plain", asked)


@pytest.fixture
def pictures(scene: Scene) -> None:
    for name in ("cat", "dog"):
        (scene.here / "pictures" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (8, 8)).save(scene.here / "pictures" / name / f"{number}.png")


Change = Callable[[dict[str, Any]], None]
CALL = {"_target_": "os.system", "_args_": ["touch ../canary"]}
CHANGES: dict[str, tuple[Change, str]] = {
    "code as data": (lambda run: run.update(data=CALL), "os.system"),
    "code as a source": (lambda run: run["data"].update(train=CALL), "os.system"),
    "code as a part": (lambda run: run["data"].update(augment=CALL), "os.system"),
    "code as the optimizer": (lambda run: run.update(optimizer=CALL), "os.system"),
    "code that it allows itself": (
        lambda run: run.update(data=CALL, allow_targets=["os", "posix"]), "say it again with 'allow_targets=[os,posix]'"
    ),
    "the environment": (lambda run: run.update(name="${oc.env:TRIPTYCH_TEST_SECRET}"), "an interpolation"),
    "the environment as an address": (
        lambda run: run["data"].update(root="s3://evil/${oc.env:TRIPTYCH_TEST_SECRET}"), "an interpolation"
    ),
    "a folder to clear": (
        lambda run: run["data"].update(train={"_target_": "triptych.data.pairs_shards.ShardPairs", "keep": "../outside",
                                              "keep_gb": 0}), "say it again with data.train.keep=../outside"
    ),
}  # fmt: skip


@pytest.mark.usefixtures("quick", "pictures")
@pytest.mark.parametrize("change", CHANGES)
def test_a_resume_of_a_stranger_is_refused(
    change: str, settings: dict[str, Any], scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    act, message = CHANGES[change]
    changed = json.loads(json.dumps(settings))
    act(changed)
    run = run_of(scene, changed)
    assert message in told(["train", f"resume={run}"], capsys)


TEXTS = {
    "tags of Python": "!!python/object/apply:os.system ['touch ../canary']",
    "tags below": "task: train\nname: !!python/name:os.system ''",
    "a billion laughs": "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    + "\n".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in zip("abcdefghi", "bcdefghij", strict=True)),
    "a list in itself": "task: train\nname: &a [*a]",
    "a mapping in itself": "task: train\ndata: &a {a: *a}",
    "deep": "task: " + "[" * 400 + "]" * 400,
    "deeper": "task: " + "[" * 100_000,
    "not UTF-8": "task: train\nname: \udcff",
    "a list": "[1, 2]",
    "a text": "train",
    "nothing": "",
    "another task": "task: [train]",
    "an unknown task": "task: ../../evil",
    "times and sets": "task: train\nname: 2020-01-01\nseed: !!set {a, b}",
    "keys that are lists": "task: train\n? [a, b]\n: c",
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("text", TEXTS)
def test_a_file_that_is_a_trap_is_told(text: str, scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(scene, "")
    (run / "config.yaml").write_bytes(TEXTS[text].encode(errors="surrogateescape"))
    (run / "metrics.csv").write_text("step,epoch\n1,0\n")
    assert "config.yaml" in told(["train", f"resume={run}"], capsys)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["code as data", "the environment as an address", "a folder to clear"])
def test_data_of_a_strangers_run_are_not_read_blindly(
    change: str, settings: dict[str, Any], scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    act, message = CHANGES[change]
    changed = json.loads(json.dumps(settings))
    act(changed)
    assert message in told(["evaluate", f"checkpoint={run_of(scene, changed)}"], capsys)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", ["run.log", "metrics.csv", "plots", "logs", "report.html", "tensorboard/deep"])
def test_a_resume_writes_through_no_link(
    name: str, settings: dict[str, Any], scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(scene, settings)
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).symlink_to(scene.outside / ("letter.txt" if "." in name else "folder"))
    message = told(["train", f"resume={run}"], capsys)
    assert f"{run / name} is a link to {scene.outside}" in message


@pytest.mark.usefixtures("quick")
def test_a_resume_waits_for_no_pipe(settings: dict[str, Any], scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(scene, settings)
    os.mkfifo(run / "run.log")
    assert "run.log is no plain file" in told(["train", f"resume={run}"], capsys)
    (run / "config.yaml").unlink()
    os.mkfifo(run / "config.yaml")
    assert "is not a run directory" in told(["train", f"resume={run}"], capsys)


@pytest.mark.usefixtures("quick")
def test_names_that_command_a_terminal_are_shown_as_text(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    name = "run\x1b]0;evil\x07\x1b[2J"
    (scene.here / name).mkdir()
    assert main(["train", f"resume={name}"]) == 2
    printed = capsys.readouterr().err
    assert "\x1b" not in printed
    assert r"\x1b]0;evil" in printed
