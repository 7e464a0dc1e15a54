"""Run the `pellucid` command by `python -m pellucid`."""

from pellucid.cli.process import run

if __name__ == "__main__":
    run()
