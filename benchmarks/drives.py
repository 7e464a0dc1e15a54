"""Divide CamVid by drive: `python -m benchmarks.drives FOLDER`, then `pellucid train camvid-fcn8 data.name=FOLDER`.

CamVid's own `val` is a section of the drive 0016E5; the rest of that drive is in `train`. FOLDER/val contains links to
all images of the drive 0016E5, and FOLDER/train links to the images of the other two drives.
"""

import argparse
from pathlib import Path

from pellucid.data import CATALOGUE, data_root

HELD_OUT_DRIVE = "0016E5"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    source = (data_root() / CATALOGUE["camvid"].path).resolve()
    for kind in ("", "annot"):
        paths = [path for part in ("train", "val") for path in sorted((source / f"{part}{kind}").iterdir())]
        for part in ("train", "val"):
            target = folder / f"{part}{kind}"
            target.mkdir(parents=True)
            part_paths = [path for path in paths if path.name.startswith(f"{HELD_OUT_DRIVE}_") == (part == "val")]
            for path in part_paths:
                (target / path.name).symlink_to(path)
            print(target, len(part_paths))


if __name__ == "__main__":
    main()
