"""Write all open cases, or all sealed ones: python -m benchmarks.traps.write OUT [--sealed]."""

import argparse
import importlib
from pathlib import Path


def main() -> None:
    """OUT/NAME/trap and OUT/NAME/twin of each case. A folder that is there already is refused, not mixed up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sealed", action="store_true", help="the sealed cases in place of the open ones")
    chosen = parser.parse_args()
    # Imported by name, so that writing the open cases does not even load the sealed ones.
    cases = importlib.import_module(".sealed_part" if chosen.sealed else ".open_part", __package__).CASES
    for case in cases:
        for twin in (False, True):
            folder = chosen.out / case.name / ("twin" if twin else "trap")
            folder.mkdir(parents=True)
            case.write(folder, twin)
    print(f"{len(cases)} cases, with a trap and a twin each, in {chosen.out}")


if __name__ == "__main__":
    main()
