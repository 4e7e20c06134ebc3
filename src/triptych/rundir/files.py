"""Small files of a run directory, and their names."""

from triptych.checkpoints.files import write_atomic

__all__ = ["file_name", "write_atomic"]


def file_name(name: str) -> str:
    """A name of the user's choice as a part of a file's name."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
