"""Objects from plain configuration, where only allowed packages may be named.

A configuration is data until somebody calls what it names. This is the one place that does, and it looks at every
`_target_` of the tree first: a run directory or a checkpoint from a stranger cannot name `os.system`, nor reach it
through a module that happens to import it (`torch.os.system`).
"""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from triptych.errors import UserError

# What a run's own configuration may name. A list of what is known to be harmless, for one of what is not is never
# complete: `torch` alone has a dozen ways to write a file.
RUN_PACKAGES = (
    *(f"triptych.callbacks.{part}" for part in ("checkpointing", "ema", "swa")),
    *(f"triptych.{part}" for part in ("data", "features", "losses", "models", "nn", "objectives", "optim", "towers")),
    *("triptych.parallel.exchange", "triptych.strategies"),
    *("torch.nn", "torch.optim", "torch.Generator", "torchvision.transforms", "torchvision.ops"),
    *("torchaudio.functional", "torchaudio.transforms", "lightning.pytorch.loggers", "torchmetrics"),
    *("timm.create_model", "timm.layers", "timm.loss", "timm.models", "timm.optim", "timm.scheduler"),
)
# What the model config inside a checkpoint may name: a checkpoint may come from anybody.
MODEL_PACKAGES = ("triptych.nn", "triptych.towers", "triptych.models", "triptych.features", "torch.nn")

# Inside the allowed packages and those that a user adds, what reads pickles, runs commands, fetches or writes files, or
# calls what it is given.
DENIED = (
    *(f"lightning.{part}" for part in ("app", "fabric.cli", "fabric.utilities", "pytorch.cli", "pytorch.core.saving")),
    *(
        f"lightning.{part}"
        for part in ("pytorch.utilities", "fabric.strategies.launchers", "pytorch.strategies.launchers")
    ),
    *(f"timm.{part}" for part in ("models.load_checkpoint", "models._builder", "models._helpers", "models._hub")),
    *(f"timm.{part}" for part in ("models._prune", "models._registry", "models.hub", "utils")),
    *("timm.models.repghost.repghost_model_convert", "lightning.pytorch.loggers.litlogger", "torchmetrics.detection"),
    *(
        f"torch.{part}"
        for part in ("classes", "compiler", "export", "fx", "hub", "jit", "library", "multiprocessing", "onnx", "ops")
    ),
    *(f"torch.{part}" for part in ("package", "serialization", "storage", "testing", "distributed.checkpoint")),
    *(f"torch.{part}" for part in ("PyTorchFileReader", "PyTorchFileWriter", "ScriptModule", "CompilationUnit")),
    *(f"torch.distributed.{part}" for part in ("elastic", "launch", "launcher", "rpc", "run")),
    *(f"torch.utils.{part}" for part in ("benchmark", "bottleneck", "collect_env", "cpp_extension", "hipify")),
    *(f"torch.utils.{part}" for part in ("mobile_optimizer", "model_dump", "model_zoo", "show_pickle", "tensorboard")),
    *(f"torch.utils.data.{part}" for part in ("datapipes", "graph")),
    *(f"torchmetrics.{part}" for part in ("audio", "image", "multimodal", "text", "utilities", "video")),
    *(f"torchmetrics.functional.{part}" for part in ("audio", "image", "multimodal", "text", "video")),
    *(f"torchvision.{part}" for part in ("datasets.utils",)),
    *(f"triptych.{part}" for part in ("build", "checkpoints", "cli", "command", "export", "load", "rundir")),
    *(f"triptych.data.{part}" for part in ("files", "huggingface_load", "remote_shards", "shard_copies")),
    "triptych.data.shard_index",
)
DENIED_NAMES = frozenset({"from_file", "load", "load_from_checkpoint", "load_state_dict_from_url", "save"})

NAME = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+", re.ASCII)


def build(config: Any, allow: tuple[str, ...] = RUN_PACKAGES) -> Any:
    """Instantiate a plain, resolved configuration (`_target_`, `_partial_`, `_args_` as Hydra has them; plain
    containers throughout).

    Args:
        config: nested dicts, lists and scalars, without interpolations.
        allow: packages (or modules in them) whose classes and functions a `_target_` may name.

    Raises:
        UserError: a target that is not allowed, is not there, or does not take its arguments; the message names it.
    """
    check_targets(config, allow)
    try:
        return instantiate(config, _convert_="all")
    except InstantiationException as error:
        raise _mistake(error) from error


def check_targets(config: Any, allow: tuple[str, ...] = RUN_PACKAGES) -> None:
    """Look at every `_target_` in the tree without calling any.

    Raises:
        UserError: see `build`.
    """
    for path, target in _targets(config, ""):
        if not isinstance(target, str) or not NAME.fullmatch(target):
            raise UserError(
                f"{path} is {target!r}; a target is a dotted name of public parts, such as triptych.nn.Block"
            )
        resolve(target, allow, path)


def resolve(target: str, allow: tuple[str, ...] = RUN_PACKAGES, path: str = "_target_") -> Any:
    """The class or function that `target` names.

    Modules on the way must be of the allowed packages, and what is found must have been defined in one, whatever road
    led there.

    Raises:
        UserError: not allowed, or not there.
    """
    refused = UserError(
        f"{path} names {target}, which is not allowed; targets may come from {_listed(allow)} (without what loads "
        "files or runs code). Your own packages: allow_targets=[PACKAGE]"
    )
    if not _within(target, allow) or _denied(target):
        raise refused
    families = {name.partition(".")[0] for name in allow}
    parts = target.split(".")
    found: Any = _package(parts[0], path)
    for index, part in enumerate(parts[1:], start=2):
        parent, found = found, _member(found, part)
        if found is None:
            raise UserError(
                f"{path} names {target}, but {'.'.join(parts[: index - 1])} has no {part}{_hint(parent, part)}"
            )
        if isinstance(found, ModuleType) and found.__name__.partition(".")[0] not in families:
            raise refused
    if not (inspect.isclass(found) or inspect.isroutine(found)):
        raise UserError(f"{path} names {target}, which is a {type(found).__name__}; expected a class or a function")
    home = getattr(found, "__module__", None) or ""
    # torch defines its compiled functions in torch._C and shows them where they belong.
    compiled = "torch" in families and _within(home, ("torch._C",))
    if not (compiled or _within(home, allow)) or _denied(f"{home}.{found.__qualname__}"):
        raise refused
    return found


def _package(name: str, path: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise UserError(f"{path}: {name} needs {error.name}, which is not installed") from error
        raise UserError(
            f"{path} names the package {name}, which cannot be imported: install it, or start from the folder it is in"
        ) from error


def _member(parent: Any, part: str) -> Any:
    found = getattr(parent, part, None)
    if found is None and isinstance(parent, ModuleType):
        try:
            found = import_module(f"{parent.__name__}.{part}")
        except ModuleNotFoundError as error:
            if error.name != f"{parent.__name__}.{part}":
                raise UserError(f"{parent.__name__}.{part} needs {error.name}, which is not installed") from error
    return found


def _hint(parent: Any, part: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(part, [name for name in dir(parent) if not name.startswith("_")], n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _listed(packages: tuple[str, ...]) -> str:
    """Names of packages as a shell would have them, those of one parent together: a.{b,c}, d."""
    parents: dict[str, list[str]] = {}
    for package in packages:
        parent, _, last = package.rpartition(".")
        parents.setdefault(parent, []).append(last)
    return ", ".join(
        ".".join(filter(None, (parent, names[0] if len(names) == 1 else "{" + ",".join(names) + "}")))
        for parent, names in parents.items()
    )


def _within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _denied(name: str) -> bool:
    return _within(name, DENIED) or name.rpartition(".")[2] in DENIED_NAMES


def _targets(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            here = f"{path}.{key}" if path else str(key)
            if not isinstance(key, str):
                raise UserError(f"{here} is a key of type {type(key).__name__}; a configuration has names for keys")
            if key == "_target_":
                yield here, value
            yield from _targets(value, here)
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _targets(value, f"{path}[{index}]")
    elif isinstance(node, str):
        if "${" in node:
            raise UserError(
                f"{path} is {node!r}: an interpolation, which could still become anything; resolve it first"
            )
    elif not (node is None or isinstance(node, bool | int | float)):
        raise UserError(f"{path} is a {type(node).__name__}; a configuration holds plain data only")


def _mistake(error: InstantiationException) -> UserError:
    """The user's mistake behind Hydra's wrapping, in one message."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
        if isinstance(cause, UserError):
            return cause
    place = re.search(r"full_key: (\S+)", str(error))
    where = f"cannot build {place[1]}" if place else "cannot build the configuration"
    detail = str(cause) if cause is error or isinstance(cause, ValueError) else f"{type(cause).__name__}: {cause}"
    return UserError(f"{where}: {detail}")
