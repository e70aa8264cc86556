"""``python workflow/stage.py RULE TARGET``: a dvc stage delegates to exactly one Snakemake rule."""

import os
import subprocess
import sys


def main() -> int:
    """Run one rule, forced: dvc has already decided that it must run."""
    if "DVC_STAGE" not in os.environ:
        print("stage.py is called by dvc; use `dvc repro` or `snakemake`", file=sys.stderr)
        return 2
    rule, target = sys.argv[1:3]
    profile = os.environ.get("ELEKTRONN_PROFILE", "workflow/profiles/dvc")
    command = ["snakemake", "--workflow-profile", profile, "--allowed-rules", rule, "--forcerun", rule, "--", target]
    locked = False
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        for line in child.stderr:
            locked |= "LockException" in line
            sys.stderr.write(line)
            sys.stderr.flush()
    if locked:
        print("another snakemake works here, or one was killed: then run `snakemake --unlock`", file=sys.stderr)
    return child.returncode


if __name__ == "__main__":
    sys.exit(main())
