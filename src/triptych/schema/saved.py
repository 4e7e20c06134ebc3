"""A configuration that a run saved: read back with its types, and changed by the overrides of a resume."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from triptych.errors import UserError
from triptych.plain import read_yaml
from triptych.schema.check import documented
from triptych.schema.option import near
from triptych.schema.places import PLACES, kinds_at
from triptych.schema.roots import ROOTS
from triptych.schema.run import Part


def read(file: Path) -> DictConfig:
    """The configuration in `file` with the types of the schema.

    Raises UserError where the file is no configuration of this version.
    """
    try:
        return typed(read_yaml(file))
    except (OmegaConfBaseException, AttributeError, KeyError, TypeError, ValueError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{file} is not a configuration that this version of triptych can read: {first}") from error


def typed(plain: dict[str, Any]) -> DictConfig:
    """A plain nested dictionary as a configuration whose nodes have their dataclasses again."""
    config = OmegaConf.structured(ROOTS[plain["task"]])
    for key, value in plain.items():
        config[key] = part(value, key)
    return config


def part(value: Any, place: str) -> Any:
    """A plain value as the node, with its dataclass, that can stand at a place (dotted key) of a configuration.

    A part that an older version did not know of is the first of those that can stand there, the one that its owner's
    constructor takes by itself.
    """
    if not isinstance(value, dict):
        return value
    children = {key: part(child, f"{place}.{key}") for key, child in value.items()}
    if "_target_" not in value and not kinds_at(place):
        return children  # named parts, such as the validation sets
    node = OmegaConf.structured(_kind(place, value))
    if OmegaConf.get_type(node) is Part:  # a user's own part: nothing is known of its arguments
        OmegaConf.set_struct(node, False)
    for key, child in children.items():
        node[key] = child
    for key in node:
        kinds = kinds_at(f"{place}.{key}")
        if key not in children and kinds and OmegaConf.get_type(node, str(key)) is Part:
            node[key] = OmegaConf.structured(kinds[0])
    return node


def _kind(place: str, value: dict[str, Any]) -> Any:
    """The dataclass of a part: the one of its place that names the same target."""
    for kind in kinds_at(place):
        if not issubclass(kind, Part) or kind._target_ == value.get("_target_"):
            return kind
    return Part


def check_said_again(config: DictConfig, file: Path, overrides: list[str]) -> None:
    """A saved configuration may come from anybody, and some of its settings reach beyond the run: those are said again
    on the command line. Fetching of data sets, which a run that was saved has done, is switched off.

    Raises:
        UserError: it allows code, or names a folder to keep and clear fetched files in, and the overrides do not.
    """
    said = {override.lstrip("+~").partition("=")[0] for override in overrides}
    allowed = list(config.get("allow_targets") or [])
    if allowed and "allow_targets" not in said:
        raise UserError(
            f"{file} allows code of {', '.join(allowed)} to run, and a run directory may come from anybody: where it "
            f"is yours, say it again with 'allow_targets=[{','.join(allowed)}]'"
        )
    for key, node, name in _settings(config.get("data"), "data"):
        if name == "keep" and isinstance(node[name], str) and key not in said:
            raise UserError(
                f"{file} keeps fetched files in {node[name]} and clears old ones there, and a run directory may come "
                f"from anybody: where it is yours, say it again with {key}={node[name]}"
            )
        if name == "download" and key not in said:
            node[name] = False


def _settings(node: Any, place: str) -> Iterator[tuple[str, Any, str]]:
    """Dotted key, mapping and name of every setting below a node."""
    if isinstance(node, ListConfig):
        for index, child in enumerate(node):
            yield from _settings(child, f"{place}[{index}]")
    if isinstance(node, DictConfig):
        for name in list(node):
            yield f"{place}.{name}", node, str(name)
            yield from _settings(node[name], f"{place}.{name}")


def change(config: DictConfig, overrides: list[str]) -> list[str]:
    """Applies `key=value` overrides to a saved configuration in place; what changed, a line each.

    Raises UserError for a key that the configuration lacks and for a choice of a group: a resumed run keeps its parts.
    """
    changes = []
    known = documented(config)
    for override in OverridesParser.create().parse_overrides(overrides):
        key = override.key_or_group
        if key == "resume" or key.startswith("hydra."):
            continue
        place = key.replace("/", ".")
        if key.partition(".")[0] in ("weights", "tower_weights"):
            raise UserError(f"{override.input_line}: a resumed run goes on with its own weights. Leave {key} out")
        if place in PLACES or key == "experiment":
            raise UserError(
                f"{override.input_line} chooses another part, but a resumed run keeps the parts it was started with. "
                "Leave it out, or start a new run with weights=RUN_DIRECTORY"
            )
        if key not in known:
            close = near(key, list(known))
            hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
            raise UserError(f"there is no setting {key!r} in the saved configuration.{hint}")
        try:
            before = OmegaConf.select(config, key)
            OmegaConf.update(config, key, override.value())
            after = OmegaConf.select(config, key)
        except OmegaConfBaseException as error:
            first = str(error).splitlines()[0]
            raise UserError(f"{key}: {first}") from error
        if after != before:
            changes.append(f"{key}: {before} -> {after}")
    return changes
