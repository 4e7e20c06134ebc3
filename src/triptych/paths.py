"""Where the files that ship with the project lie: in a clone beside src/, in an installed wheel inside the package."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_SHIPPED = _PACKAGE / "shipped"
_CLONE = _PACKAGE.parents[1]


def resource(name: str) -> Path:
    """Path of a shipped file or folder, `name` relative to the repository root (`conf`, `tasks`, `data/emoji`).

    Raises FileNotFoundError, naming both places, where the installation lacks it.
    """
    for root in (_SHIPPED, _CLONE):
        if (path := root / name).exists():
            return path
    raise FileNotFoundError(f"{name} is neither in {_SHIPPED} nor in {_CLONE}: reinstall triptych")
