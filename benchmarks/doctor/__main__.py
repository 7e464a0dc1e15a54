"""Ask the doctor about trainings with mistakes and about healthy ones: `python -m benchmarks.doctor`.

What it says is kept in one file for each training; the same command goes on where an interrupted one was, and begins
anew what has other code, or another doctor. For several processes, give each its own lists or names. Whether a named
cause of an unusual or posted mistake is the right one is left to readers.
"""

import argparse
import os
import sys
import time
import warnings
from collections.abc import Iterable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported

from benchmarks.doctor import harm, report
from benchmarks.doctor.lists import LISTS, POSTS_FOLDER, Entry, entries
from benchmarks.doctor.store import Record, Store, doctor_hash, slug
from benchmarks.doctor.tally import tally
from benchmarks.doctor.trial import tried


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.doctor", description=__doc__)
    parser.add_argument("lists", nargs="*", default=LISTS, metavar="LIST", help=f"{', '.join(LISTS)} (all)")
    parser.add_argument("--names", nargs="+", help="a file with names, one a line, or how the names begin (all)")
    parser.add_argument("--every", type=int, default=1, metavar="K", help="each K-th training of a list only")
    parser.add_argument("--seed", type=int, default=0, help="of the data and the training (0)")
    parser.add_argument("--healthy", action="store_true", help="the same trainings without their mistakes")
    parser.add_argument("--folder", type=Path, default=POSTS_FOLDER, help="of the posts (benchmarks/doctor/posts)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further training after these")
    parser.add_argument("--out", type=Path, default=Path("runs/doctor"), help="the folder of records (runs/doctor)")
    parser.add_argument("--docs", type=Path, help="a folder whose stored results get the records (none)")
    parser.add_argument("--harm", action="store_true", help="measure what the mistakes cost instead")
    args = parser.parse_args(arguments)
    if unknown := set(args.lists) - set(LISTS):
        parser.error(f"no list {', '.join(sorted(unknown))}; known: {', '.join(LISTS)}")
    warnings.simplefilter("ignore")
    begin, records = time.monotonic(), list[Record]()
    for list_name in args.lists:
        chosen = chosen_of(entries(list_name, args.folder), args.names)[:: args.every]
        if args.harm:
            harm.measure(chosen, begin + args.seconds)
            continue
        found = list(asked(list_name, chosen, args, begin + args.seconds))
        print(f"{list_name}: {tally(found)}", flush=True)
        records += found
    if args.docs:
        report.take(records, args.docs)
    return 0


def chosen_of(known: Iterable[Entry], names: list[str] | None) -> list[Entry]:
    """Return the trainings with the names in a file, or those whose names begin so; all if names is None."""
    if names and Path(names[0]).is_file():
        listed = {slug(line) for line in Path(names[0]).read_text("utf-8").splitlines()}
        return [entry for entry in known if slug(entry.name) in listed]
    return [entry for entry in known if names is None or slug(entry.name).startswith(tuple(map(slug, names)))]


def asked(list_name: str, chosen: Iterable[Entry], args: argparse.Namespace, end: float) -> Iterable[Record]:
    """Yield the record of each training, stored or new, and print a line for each."""
    store, doctor = Store(args.out), doctor_hash()
    for entry in chosen:
        path, code = store.path(list_name, entry.name, args.seed, args.healthy), f"{entry.code}-{doctor}"
        record = store.read(path, code)
        if record is None:
            if time.monotonic() >= end:
                continue
            key = {"list": list_name, "name": entry.name, "seed": args.seed, "healthy": args.healthy, "code": code}
            record = key | tried(entry, args.seed, not args.healthy)
            store.write(path, record)
        print(f"{entry.name:44} {record['verdict']:14} {record['words']}", flush=True)
        yield record


if __name__ == "__main__":
    sys.exit(main())
