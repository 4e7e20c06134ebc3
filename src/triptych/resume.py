"""Whether a run can go on from its checkpoint: what was saved must fit what its configuration and data make now."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from triptych.checkpoints.format import PREFIX, read_checkpoint
from triptych.errors import UserError
from triptych.rundir import RunDirectory

_WAY_OUT = "Undo the change, or start a new run with weights=RUN_DIRECTORY"


MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")
"""What optimizers keep of each weight, in its shape."""


def check_resumable(
    run: RunDirectory,
    model: nn.Module,
    optimizer: Optimizer,
    description: Mapping[str, Any],
    total_steps: int,
    trainer: Mapping[str, Any],
) -> bool:
    """Compares the checkpoint that `run` goes on from with the parts of a job; whether steps are left to make. None
    are where a run was stopped after the last one, before its report was made.

    Args:
        run: the run directory.
        model, optimizer: as the configuration of the resume makes them.
        description: what the job's checkpoints will say of the model, with its tokenizer and the classes of the data.
        total_steps: optimizer steps that the job is to reach.
        trainer: the settings of the trainer, for the message.

    Raises:
        UserError: there is no whole checkpoint; the run is finished; classes, weights or the groups of the optimizer
            differ.
    """
    folder = run.last_checkpoint()
    checkpoint = read_checkpoint(folder)
    _check_parts(f"{folder}", checkpoint)
    if (step := checkpoint["global_step"]) >= total_steps and run.is_told:
        bound = "max_steps" if trainer["max_steps"] == total_steps else "epochs"
        raise UserError(
            f"{run.path} is finished: it has made {step} steps of {total_steps}. To go on for longer, "
            f"raise trainer.{bound} above {trainer[bound]:g}"
        )
    saved = checkpoint.get("triptych", {}).get("config", {})
    _check_classes(f"{folder}", saved.get("classes"), description.get("classes", []))
    _check_tokenizer(f"{folder}", saved.get("model", {}), description["model"])
    _check_weights(f"{folder}", checkpoint["state_dict"], model)
    _check_groups(f"{folder}", checkpoint["optimizer_states"][0]["param_groups"], optimizer.param_groups)
    check_state(f"{folder}", checkpoint["optimizer_states"][0], optimizer)
    return step < total_steps


def _check_parts(folder: str, checkpoint: Mapping[str, Any]) -> None:
    """A checkpoint that verifies may still be anybody's, and hold anything."""
    optimizers = checkpoint.get("optimizer_states")
    groups = optimizers[0].get("param_groups") if _lists(optimizers, dict) and optimizers else None
    config = checkpoint.get("triptych", {"config": {}})
    right = {
        "global_step": type(step := checkpoint.get("global_step")) is int and 0 <= step < 1 << 48,
        "state_dict": isinstance(state := checkpoint.get("state_dict"), dict)
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()),
        "optimizer_states": _lists(groups, dict) and all(_lists(each.get("params"), int) for each in groups or ()),
        "lr_schedulers": _lists(checkpoint.get("lr_schedulers", []), dict),
        "callbacks": isinstance(calls := checkpoint.get("callbacks", {}), dict)
        and all(isinstance(each, dict) for each in calls.values()),
        "triptych": isinstance(config, dict)
        and isinstance(said := config.get("config", {}), dict)
        and isinstance(said.get("model", {}), dict)
        and (said.get("classes") is None or _lists(said["classes"], str)),
        "rng": _lists(checkpoint.get("rng", []), dict),
    }
    if wrong := [name for name, holds in right.items() if not holds]:
        raise UserError(
            f"{folder} is a checkpoint, but not one that a run left: its {wrong[0]} is missing or of another kind. "
            "Weights alone start a new run with weights=FOLDER"
        )


def _lists(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(each, kind) for each in value)


def _check_classes(folder: str, saved: list[str] | None, classes: list[str]) -> None:
    if saved is None or saved == classes:
        return
    raise UserError(
        f"{folder} was trained on {len(saved)} classes, and the data have {len(classes)} now "
        f"({_changes(saved, classes)}): a label would mean another class. Put the data back, or fit the weights to "
        "the new ones with `triptych finetune`"
    )


def _check_tokenizer(folder: str, saved: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    """A tokenizer is made of the captions, and others would give every token another meaning."""
    there, here = (each.get("tokenizer") or {} for each in (saved, model))
    if there in ({}, here):
        return
    before, now = (each.get("words") or [] for each in (there, here))
    if before and now:
        change = f"{len(before)} words there and {len(now)} now; {_changes(before, now)}"
    else:
        keys = sorted(key for key in {*there, *here} if there.get(key) != here.get(key))
        change = f"{', '.join(keys)} changed"
    raise UserError(
        f"{folder} was trained with another tokenizer than this configuration and its captions make now ({change}): a "
        "token would mean another word. Put the captions back, or go on with these and the old tokenizer by "
        "`triptych finetune weights=RUN_DIRECTORY`"
    )


def _changes(saved: list[str], now: list[str]) -> str:
    """The first names that are gone or new."""
    gone, new = ([one for one in a if one not in set(b)] for a, b in ((saved, now), (now, saved)))
    change = [f"{what} {', '.join(names[:3])}" for what, names in (("gone:", gone), ("new:", new)) if names]
    return "; ".join(change) or "in another order"


def _check_weights(folder: str, saved: Mapping[str, Any], model: nn.Module) -> None:
    theirs = {key.removeprefix(PREFIX): tuple(value.shape) for key, value in saved.items() if key.startswith(PREFIX)}
    own = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    for key in [*own, *theirs]:
        if own.get(key) != theirs.get(key):
            there, here = (str(shapes[key]) if key in shapes else "missing" for shapes in (theirs, own))
            raise UserError(
                f"{folder} does not fit the model that this configuration makes: {key} is {there} there and {here} "
                f"here. {_WAY_OUT}"
            )


def _check_groups(folder: str, saved: list[dict[str, Any]], groups: list[dict[str, Any]]) -> None:
    """An optimizer's state goes by the place of a weight in its groups, so other groups would mix weights up."""
    there, here = ([len(group["params"]) for group in each] for each in (saved, groups))
    if there != here:
        raise UserError(
            f"{folder} has an optimizer of {sum(there)} trained weights in {len(there)} groups, and this configuration "
            f"makes one of {sum(here)} in {len(here)}: what is trained, or the layer decay, has changed. {_WAY_OUT}"
        )


def check_state(folder: str, saved: Mapping[str, Any], optimizer: Optimizer) -> None:
    """Looks at what an optimizer is to take over: its moments and its settings.

    Raises:
        UserError: moments of another shape than their weight, or a setting that is of another kind than here.
    """
    places = [place for group in saved["param_groups"] for place in group["params"]]
    own = [weight for group in optimizer.param_groups for weight in group["params"]]
    state = saved.get("state", {})
    right = isinstance(state, dict) and all(isinstance(each, dict) for each in state.values())
    for place, weight in zip(places, own, strict=True) if right else ():
        moments = state.get(place, {})
        right &= all(_fits(moments[name], weight) for name in MOMENTS if name in moments)
    for there, here in zip(saved["param_groups"], optimizer.param_groups, strict=True):
        right &= all(_alike(there[name], here[name]) for name in here if name != "params" and name in there)
    if not right:
        raise UserError(
            f"{folder} has an optimizer whose state does not fit its weights: it is damaged, or not what a run left. "
            f"{_WAY_OUT}"
        )


def _fits(moment: Any, weight: Tensor) -> bool:
    return moment is None or (isinstance(moment, Tensor) and moment.shape == weight.shape)


def _alike(there: Any, here: Any) -> bool:
    """Whether a setting is a number, or as many numbers, where it is that here."""
    if isinstance(here, int | float | Tensor):
        return isinstance(there, int | float) or (isinstance(there, Tensor) and there.numel() == 1)
    if isinstance(here, list | tuple):
        return isinstance(there, list | tuple) and len(there) == len(here) and all(map(_alike, there, here))
    return True
