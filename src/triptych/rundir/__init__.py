"""The folder of one run: where it is, what is written into it, and its log. Imports no torch."""

from triptych.rundir.directory import RunDirectory
from triptych.rundir.files import file_name, write_atomic
from triptych.rundir.log import RunLog
from triptych.rundir.masking import Masking
from triptych.rundir.terminal import console

__all__ = ["Masking", "RunDirectory", "RunLog", "console", "file_name", "write_atomic"]
