"""Starts a task: composes its configuration with Hydra, checks it, runs it, turns errors into messages and exit codes.

Exit codes: 0 done, 1 a fault of the program (with its traceback) or two runs that `triptych compare` found to differ,
2 a mistake of the user, 3 training went wrong, 4 `triptych doctor` found errors in the data, 130 stopped by Ctrl-C,
143 stopped by SIGTERM; after 130 and 143 the run was saved and can be resumed.
"""

import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from triptych.command import data_of_run, groups, messages
from triptych.command.overrides import as_typed
from triptych.command.submit import of_launcher, of_sweep, submit
from triptych.errors import TrainingFault, UserError, say, shown
from triptych.parallel.launch import RANK, is_shared, launch, launched
from triptych.parallel.srun import adopt_srun
from triptych.schema import register
from triptych.schema.check import check, text_keys

STOPPED_BY_INTERRUPT = 130
STOPPED = (STOPPED_BY_INTERRUPT, 143)


def start(task: str, arguments: list[str]) -> int:
    """Runs `task` with the override words that a user typed; the exit code."""
    try:
        adopt_srun()
        return _run(task, arguments)
    except UserError as error:
        return told(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return STOPPED_BY_INTERRUPT


def told(error: UserError | TrainingFault) -> int:
    """Prints an error's one message, once where every process of a job raises it; its exit code."""
    from triptych.rundir.masking import Masking

    rank = int(os.environ.get(RANK, "0"))
    if rank == 0 or not is_shared(error):
        text = shown(Masking().text(str(error)))
        say(f"error: rank {rank}: {text}" if rank else f"error: {text}")
    return error.exit_code


def told_fault() -> int:
    """Prints the traceback of the exception that is being handled, without secrets that stand in it; its exit code."""
    from triptych.rundir.masking import Masking

    say(Masking().text(traceback.format_exc()).rstrip())
    return 1


def _run(task: str, arguments: list[str]) -> int:
    import hydra

    register()
    overrides = as_typed(arguments, text_keys(), task)
    if any(override.startswith("resume=") and override != "resume=null" for override in overrides):
        flags = [override for override in overrides if override.startswith("-")]
        if flags:
            raise UserError(f"{flags[0]} does not go with resume=..., which goes on with one run: leave out {flags[0]}")
        config = _resumed(task, overrides)
        with _arguments(task, overrides):
            return _job(task, config, arguments)
    measures = data_of_run.measures(task)
    overrides, data_changes = data_of_run.set_aside(overrides) if measures else (overrides, [])
    codes: list[int] = []
    composed = False

    def main(config: DictConfig) -> None:
        nonlocal composed
        composed = True
        # A run's own error is told here, so that the other runs of a sweep still run and Hydra adds nothing to it.
        try:
            if measures:
                data_of_run.fill(config, data_changes)
            check(config)
            codes.append(_job(task, config, of_sweep(arguments)))
            if codes[-1] in STOPPED:
                raise SystemExit(codes[-1])  # whoever stops one run of a sweep means the sweep
        except (UserError, TrainingFault) as error:
            codes.append(told(error))
        except messages.COMPOSITION_ERRORS as error:
            codes.append(told(UserError(messages.explain(error, task, overrides))))

    # Hydra prints its own abridged traceback and exits 1 unless told that the caller wants the exception itself.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    application = hydra.main(version_base="1.3", config_path=str(groups.roots()[0]), config_name=task)(main)
    try:
        with _arguments(task, [*messages.search_path(), *overrides]):
            application()
    except messages.COMPOSITION_ERRORS as error:
        raise UserError(messages.explain(error, task, overrides)) from error
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        if composed:
            raise
        # Hydra meets some wrong overrides (a key below a choice that is null) with bare Python errors.
        raise UserError(messages.explain(error, task, overrides)) from error
    except SystemExit as stop:
        if stop.code not in STOPPED:
            raise
        return int(stop.code)
    return max(codes, default=0)


@contextmanager
def _arguments(task: str, overrides: list[str]) -> Iterator[None]:
    """What Hydra reads, and what a run's files tell as its command, however the program was called."""
    typed, sys.argv = sys.argv, [task, *overrides]
    try:
        yield
    finally:
        sys.argv = typed


def _resumed(task: str, overrides: list[str]) -> DictConfig:
    """The configuration that a run saved, changed by the other overrides; a resume composes nothing anew."""
    from triptych.rundir import RunDirectory
    from triptych.schema import saved

    launcher = [item for item in overrides if of_launcher(item)]
    given = [*launcher, *(item for item in overrides if item.startswith("resume="))]
    try:
        asked = messages.compose_plain(task, given)
    except messages.COMPOSITION_ERRORS as error:
        raise UserError(messages.explain(error, task, given)) from error
    run = RunDirectory.open(Path(asked.resume))
    config = saved.read(run.config)
    changes = [item for item in overrides if item not in launcher]
    saved.check_said_again(config, run.config, changes)
    run.check_inside()
    for change in saved.change(config, _with_trainer(changes)):
        print(f"changed for this resume: {change}")
    config.resume, config.launcher = str(run.chosen or run.path), asked.launcher
    check(config)
    return config


def _with_trainer(overrides: list[str]) -> list[str]:
    """`trainer=CHOICE` as the settings that the choice makes: how processes share a run may change at a resume."""
    found: list[str] = []
    for override in overrides:
        if not override.startswith("trainer="):
            found.append(override)
            continue
        choice = override.removeprefix("trainer=").strip("'")
        if choice not in groups.choices("trainer"):
            raise UserError(f"there is no trainer={choice}; choose one of {', '.join(groups.choices('trainer'))}")
        chosen = cast(DictConfig, OmegaConf.load(groups.file_of("trainer", choice)))
        plain = cast(dict[str, Any], OmegaConf.to_container(chosen))
        found = [f"trainer.{key}={value}" for key, value in plain.items()] + found
    return found


def _job(task: str, config: DictConfig, words: list[str]) -> int:
    """Runs one job of a task, which `words` ask for, in processes of its own where its settings ask for several, or
    leaves it to a launcher; the exit code.
    """
    if config.get("launcher") is not None:
        return submit(task, words, config)
    trainer = config.get("trainer")
    processes = trainer.devices if trainer is not None and "resume" in config else 1
    if trainer is None or processes == 1:
        return _run_here(task, config)
    if launched():
        raise UserError(
            f"trainer.devices={processes}, but a launcher has started the processes already: leave trainer.devices out"
        )
    from hydra.core.hydra_config import HydraConfig

    # What Hydra knows of the job goes along. Nothing is resolved yet: `finetune` fills in what other settings refer to.
    hydra = HydraConfig.instance().cfg
    plain = OmegaConf.to_container(config, resolve=False), hydra and OmegaConf.to_container(hydra, resolve=False)
    return launch(partial(_run_in_child, task), plain, processes, trainer.restarts)


def _run_in_child(task: str, given: tuple[Any, Any]) -> int:
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.utils import setup_globals

    register()
    setup_globals()  # the resolvers of interpolations such as ${hydra:...}
    plain, hydra = given
    if hydra is not None:
        HydraConfig.instance().cfg = cast(Any, OmegaConf.create(hydra))
    try:
        return _run_here(task, cast(DictConfig, OmegaConf.create(plain)))
    except (UserError, TrainingFault) as error:
        return told(error)
    except Exception:
        return told_fault()


def _run_here(task: str, config: DictConfig) -> int:
    _reach_own_code(config)
    return _task_body(groups.tasks()[task])(config)


def _reach_own_code(config: DictConfig) -> None:
    """Lets the packages that the user allows be imported from the current folder, as `conf/` is found there."""
    if config.get("allow_targets") and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def _task_body(file: Path) -> Callable[[DictConfig], int]:
    """The `main` of a task file, which takes the composed configuration and returns the exit code."""
    spec = importlib.util.spec_from_file_location(f"triptych_task_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main
