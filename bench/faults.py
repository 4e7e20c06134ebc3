"""Does faults to small runs and tells what came of them: `python bench/faults.py RESULTS`.

Needs Linux and, for most of it, root: strace, loop devices, mounts. What cannot be done here is written down as such.
A campaign that was stopped goes on where it was: an event that RESULTS (JSON lines) has is not done again.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
sys.path.insert(0, str(Path(__file__).parents[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="a file of JSON lines, which grows")
    parser.add_argument("--show", action="store_true", help="print the table of what is there, and do nothing")
    parser.add_argument("--short", action="store_true", help="a dozen events, one of each kind")
    parser.add_argument("--only", default="", help="events whose name holds this text")
    parser.add_argument("--part", default="1/1", help="2/3: the second of three campaigns that share the events")
    given = parser.parse_args()
    if given.show:
        from bench.fault_campaign.table import table

        print(table(given.results))
        return
    from bench.fault_campaign.campaign import run

    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        sys.exit(run(given.results, Path(folder), given.short, given.only, given.part))


if __name__ == "__main__":
    main()
