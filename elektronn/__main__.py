"""``python -m elektronn``: the same as the ``elektronn`` command."""

from elektronn.cli.main import run

if __name__ == "__main__":
    run()
