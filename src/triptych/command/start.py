"""Starts a task: composes its configuration with Hydra, checks it, runs it, turns errors into messages and exit codes.

Exit codes: 0 done, 1 a fault of the program (with its traceback), 2 a mistake of the user, 3 training went wrong,
4 `triptych doctor` found errors in the data, 130 stopped by Ctrl-C, 143 stopped by SIGTERM; after 130 and 143 the run
was saved and can be resumed.
"""

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

from triptych.command import data_of_run, groups, messages
from triptych.command.overrides import as_typed
from triptych.errors import TrainingFault, UserError
from triptych.schema import register
from triptych.schema.check import check, text_keys

STOPPED_BY_INTERRUPT = 130
STOPPED = (STOPPED_BY_INTERRUPT, 143)


def start(task: str, arguments: list[str]) -> int:
    """Runs `task` with the override words that a user typed; the exit code."""
    try:
        return _run(task, arguments)
    except UserError as error:
        return told(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return STOPPED_BY_INTERRUPT


def told(error: UserError | TrainingFault) -> int:
    """Prints an error's one message; its exit code."""
    print(f"error: {error}", file=sys.stderr)
    return error.exit_code


def _run(task: str, arguments: list[str]) -> int:
    import hydra

    register()
    overrides = as_typed(arguments, text_keys(), task)
    body = _task_body(groups.tasks()[task])
    if any(override.startswith("resume=") and override != "resume=null" for override in overrides):
        flags = [override for override in overrides if override.startswith("-")]
        if flags:
            raise UserError(f"{flags[0]} does not go with resume=..., which goes on with one run: leave out {flags[0]}")
        config = _resumed(task, overrides)
        _reach_own_code(config)
        return body(config)
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
            _reach_own_code(config)
            codes.append(body(config))
            if codes[-1] in STOPPED:
                raise SystemExit(codes[-1])  # whoever stops one run of a sweep means the sweep
        except (UserError, TrainingFault) as error:
            codes.append(told(error))
        except messages.COMPOSITION_ERRORS as error:
            codes.append(told(UserError(messages.explain(error, task, overrides))))

    # Hydra prints its own abridged traceback and exits 1 unless told that the caller wants the exception itself.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    application = hydra.main(version_base="1.3", config_path=str(groups.roots()[0]), config_name=task)(main)
    typed, sys.argv = sys.argv, [task, *messages.search_path(), *overrides]
    try:
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
    finally:
        sys.argv = typed
    return max(codes, default=0)


def _resumed(task: str, overrides: list[str]) -> DictConfig:
    """The configuration that a run saved, changed by the other overrides; a resume composes nothing anew."""
    from triptych.rundir import RunDirectory
    from triptych.schema import saved

    asked = messages.compose_plain(task, [item for item in overrides if item.startswith("resume=")]).resume
    run = RunDirectory.open(Path(asked))
    config = saved.read(run.config)
    for change in saved.change(config, overrides):
        print(f"changed for this resume: {change}")
    config.resume = str(run.chosen or run.path)
    check(config)
    return config


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
