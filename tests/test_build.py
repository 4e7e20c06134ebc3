import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from triptych.build import MODEL_PACKAGES, RUN_PACKAGES, build, check_targets, resolve
from triptych.errors import UserError


def test_parts_are_built_from_plain_data() -> None:
    norm = build({"_target_": "torch.nn.LayerNorm", "_partial_": True, "eps": 0.5})
    assert isinstance(norm, functools.partial)
    assert norm(4).eps == 0.5
    made = build(
        {
            "_target_": "torch.nn.Sequential",
            "_args_": [{"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3}],
        }
    )
    assert isinstance(made[0], nn.Linear)


def test_containers_stay_plain() -> None:
    optimizer = build({"_target_": "torch.optim.AdamW", "_partial_": True, "betas": [0.9, 0.99]})
    assert type(optimizer.keywords["betas"]) is list


@pytest.mark.parametrize(
    "target", ["torch.nn.GELU", "torch.nn.functional.gelu", "torch.nn.functional.relu", "torch.nn.init.trunc_normal_"]
)
def test_the_layers_of_torch_may_be_named_by_a_checkpoint(target: str) -> None:
    assert callable(resolve(target, MODEL_PACKAGES))


@pytest.mark.parametrize(
    "target",
    [
        "timm.create_model", "torchvision.transforms.v2.RandAugment", "torchmetrics.Accuracy",
        "torch.optim.lr_scheduler.OneCycleLR", "lightning.pytorch.loggers.TensorBoardLogger",
        "triptych.callbacks.checkpointing.Checkpointing", "torch.Generator",
    ],
)  # fmt: skip
def test_a_run_may_name_the_parts_of_its_packages(target: str) -> None:
    assert callable(resolve(target))


@pytest.mark.parametrize("allow", [RUN_PACKAGES, MODEL_PACKAGES])
@pytest.mark.parametrize(
    "target",
    [
        "os.system", "posix.system", "subprocess.run", "builtins.eval", "builtins.exec", "shutil.rmtree",
        "pickle.loads", "runpy.run_path", "torch.os.system", "torch.nn.modules.module.functools.reduce",
        "timm.layers.helpers.collections.abc.Iterable", "triptych.checkpoints.files.os.rename",
        "triptych.checkpoints.files.shutil.rmtree", "triptych.build.import_module", "torch.load", "torch.save",
        "torch.hub.load", "torch.jit.load", "torch.serialization.load", "torch.package.PackageImporter",
        "torch.utils.cpp_extension.load_inline", "torch.utils.collect_env.run", "torch.distributed.run.main",
        "torch.ops.load_library", "torch.classes.load_library", "torch.storage.UntypedStorage",
        "torch.UntypedStorage.from_file", "lightning.pytorch.cli.instantiate_class",
        "lightning.pytorch.LightningModule.load_from_checkpoint", "lightning.fabric.utilities.load.torch",
        "timm.models.load_checkpoint", "torchvision.datasets.utils.download_url", "triptych.build.build",
        "triptych.cli.main", "triptych.checkpoints.load.load", "hydra.utils.get_method", "hydra.utils.instantiate",
        "torchx.evil", "torch_evil.f", "triptych_evil.f",
    ],
)  # fmt: skip
def test_code_cannot_be_named(target: str, allow: tuple[str, ...]) -> None:
    config = {"tower": {"parts": [{"norm": {"_target_": target, "_partial_": True}}]}}
    with pytest.raises(UserError) as error:
        build(config, allow)
    assert target in str(error.value)
    assert "tower.parts[0].norm._target_" in str(error.value)


@pytest.mark.parametrize(
    "target", ["torch.optim.AdamW", "lightning.pytorch.Trainer", "triptych.callbacks.checkpointing.Checkpointing"]
)
def test_a_checkpoint_may_name_less_than_a_run(target: str) -> None:
    with pytest.raises(UserError, match=r"not allowed; targets may come from triptych\.\{nn,towers"):
        check_targets({"_target_": target}, MODEL_PACKAGES)


@pytest.mark.parametrize(
    "target",
    [
        "${oc.env:HOME}",
        "torch",
        "torch.nn.Linear.__init__.__globals__",
        "torch._C._nn.gelu",
        "torch..nn",
        "torch.nn.Linear ",
        3,
        ["torch"],
        None,
    ],
)
def test_a_target_is_a_public_dotted_name(target: Any) -> None:
    with pytest.raises(UserError, match="_target_ is"):
        check_targets({"_target_": target})


def test_interpolations_and_objects_are_refused() -> None:
    with pytest.raises(UserError, match=r"model.path is '\$\{oc.env:SECRET\}': an interpolation"):
        check_targets({"model": {"path": "${oc.env:SECRET}"}})
    with pytest.raises(UserError, match=r"model\.net is a Linear; a configuration holds plain data"):
        check_targets({"model": {"net": nn.Linear(1, 1)}})


def test_a_misspelt_target_gets_its_near_miss() -> None:
    with pytest.raises(UserError, match=r"torch.nn.Liner, but torch.nn has no Liner; did you mean Linear\?"):
        build({"_target_": "torch.nn.Liner"})
    with pytest.raises(UserError, match="a module; expected a class or a function"):
        build({"_target_": "torch.nn.functional"})


def test_wrong_arguments_end_in_one_message() -> None:
    with pytest.raises(UserError, match=r"cannot build norm: .*LayerNorm.*unexpected keyword argument 'epsilon'"):
        build({"norm": {"_target_": "torch.nn.LayerNorm", "normalized_shape": 3, "epsilon": 1}})
    with pytest.raises(UserError, match=r"checkpoint.keep is 0; it must be above 0"):
        build({"_target_": "triptych.callbacks.checkpointing.Checkpointing", "keep": 0})


def test_the_users_own_packages_may_be_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_for_this_test.py").write_text("import os\ndef made(size): return [0] * size\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = {"_target_": "mine_for_this_test.made", "size": 2}
    with pytest.raises(UserError, match="not allowed"):
        build(config)
    assert build(config, (*RUN_PACKAGES, "mine_for_this_test")) == [0, 0]
    with pytest.raises(UserError, match="not allowed"):
        build({"_target_": "mine_for_this_test.os.getcwd"}, (*RUN_PACKAGES, "mine_for_this_test"))


def test_looking_calls_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(torch.nn.Linear, "__init__", lambda self, **arguments: called.append(arguments))
    check_targets({"_target_": "torch.nn.Linear"})
    assert not called
