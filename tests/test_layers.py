"""Each room imports only from rooms below it, and help needs no torch: read from the imports themselves."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "triptych"

# The rooms from the ground up; a room may import from its own layer's rooms only where they are itself.
LAYERS: dict[str, int] = {
    "errors": 0, "heap": 0, "paths": 0, "plain": 0, "measure": 1, "nn": 1, "losses": 1, "features": 1, "towers": 2,
    "models": 3, "data": 3, "optim": 4, "checkpoints": 4, "build": 4, "parallel": 2, "objectives": 5,
    "callbacks": 6, "analysis": 5, "rundir": 5, "schema": 7, "command": 8, "run": 10, "presets": 9, "weights": 5,
    "doctor": 6, "strategies": 5, "resume": 7, "prompts": 4, "kinds": 8, "job": 9, "evaluation": 8, "look": 9,
    "status": 9, "compare": 9, "tokens": 5, "tower_weights": 5, "statistics": 9, "cross_validation": 9,
    "release": 9, "benchmark": 10, "zero_shot": 9, "finetune": 11, "cli": 9, "__init__": 11, "__main__": 10,
}  # fmt: skip
MAY_IMPORT_BESIDE = {("plain", "errors"), ("checkpoints", "build"), ("command", "run"), ("optim", "checkpoints")}


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Rooms that a file imports from, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "triptych":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("triptych.")}
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_room_imports_only_from_below(path: Path) -> None:
    here = room(path)
    for other in imports(path) - {here}:
        below = LAYERS[other] < LAYERS[here] or (here, other) in MAY_IMPORT_BESIDE
        assert below, (
            f"{path.relative_to(SOURCE)} ({here}, layer {LAYERS[here]}) imports {other} (layer {LAYERS[other]})"
        )


@pytest.mark.parametrize("module", ["triptych", "triptych.cli", "triptych.command.manual", "triptych.schema"])
def test_command_does_not_import_torch(module: str) -> None:
    code = f"import sys, {module}; print('torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "False"
