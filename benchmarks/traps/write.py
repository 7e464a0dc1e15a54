"""Write all open cases, or all sealed ones: python -m benchmarks.traps.write OUT [--sealed]."""

from .cases import chosen_cases


def main() -> None:
    """OUT/NAME/trap and OUT/NAME/twin of each case. A folder that is there already is refused, not mixed up."""
    out, cases = chosen_cases(__doc__)
    for case in cases:
        for twin in (False, True):
            folder = out / case.name / ("twin" if twin else "trap")
            folder.mkdir(parents=True)
            case.write(folder, twin)
    print(f"{len(cases)} cases, with a trap and a twin each, in {out}")


if __name__ == "__main__":
    main()
