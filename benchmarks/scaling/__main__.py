"""Compare predicted with measured times of training steps: `python -m benchmarks.scaling [PART ...]`."""

import argparse
import signal
import sys
from functools import partial

from benchmarks.scaling.page import record
from benchmarks.scaling.validate import BATCHES, exchange_rows, link_rows, processes_rows
from benchmarks.table import conditions

VALIDATION_PARTS = {f"{kind} {name}": partial(rows, name) for name in BATCHES for kind, rows in
                    (("processes", processes_rows), ("links", link_rows))}  # fmt: skip
PARTS = {**VALIDATION_PARTS, "exchanges": exchange_rows}


def main() -> None:
    """Measure the given parts (by default all), and write the page."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # then the network namespaces are deleted
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"some of {', '.join(map(repr, PARTS))}; all by default"
    )
    for part in parser.parse_args().parts or PARTS:
        if part not in PARTS:
            parser.error(f"no part {part!r}; parts: {', '.join(map(repr, PARTS))}")
        section = "validation" if part in VALIDATION_PARTS else "exchanges"
        record(section, {part: {"measured": conditions(), "rows": PARTS[part]()}})


if __name__ == "__main__":
    main()
