"""Writes the exact versions that `uv run` installs into pyproject.toml, as constraints of uv.

    uv run python tools/pin_versions.py

The library's own dependencies stay ranges, so that it fits beside other packages; who works in a clone gets the
versions that were tested. They are resolved anew each time, as if nothing were pinned. `uv.lock` would serve as well,
but holds the addresses of the index that made it.
"""

import re
import subprocess
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
BEGIN, END = "constraint-dependencies = [\n", "]\n"


def without_pins(text: str) -> str:
    """The project file with an empty list of constraints."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + END + rest.partition(END)[2]


def resolve(text: str) -> list[str]:
    """What uv chooses for a project file, for all platforms: requirements with markers, exact versions."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / PROJECT.name).write_text(text, encoding="utf-8")
        command = ["uv", "export", "--quiet", "--no-hashes", "--no-annotate", "--no-header", "--no-emit-project"]
        found = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    return [re.sub(r"\s+", " ", line) for line in found.splitlines() if "==" in line]


def main() -> None:
    text = PROJECT.read_text(encoding="utf-8")
    free = without_pins(text)
    pins = resolve(free)
    listed = "".join(f'    "{pin.replace(chr(34), chr(39))}",\n' for pin in pins)
    PROJECT.write_text(free.replace(BEGIN + END, BEGIN + listed + END), encoding="utf-8")
    print(f"{len(pins)} versions pinned in {PROJECT.name}")


if __name__ == "__main__":
    main()
