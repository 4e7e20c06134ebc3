"""What is said to a user."""

import subprocess
import sys

from triptych.errors import shown


def test_a_full_disk_behind_standard_error_changes_no_exit_code() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "triptych", "no-such-task"], stderr=full, check=False)
    assert done.returncode == 2


def test_names_cannot_move_the_cursor() -> None:
    assert shown("a\x1b[2Jb\n\tc") == "a\\x1b[2Jb\n\tc"
