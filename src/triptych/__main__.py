"""`python -m triptych TASK ...`, as launchers such as torchrun start it."""

import sys

from triptych.cli import main

if __name__ == "__main__":
    sys.exit(main())
