"""Write what the licences of their data mean for the shipped weights: `python -m benchmarks.licences`.

It rewrites these licences in the description of each weights file, in its card and in pretrained/LICENCES.md, without
an evaluation, and leaves the weights as they are. `benchmarks.pretrained` and `benchmarks.distil` write new files and
cards with the same functions.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pellucid import shipped_files
from pellucid.data.entries import CATALOGUE, NO_LICENCE
from pellucid.data.trained_on import (
    IMAGENET,
    TRAINED_ON,
    WEIGHTS_LICENCE,
    data_text,
    is_free,
    licence_json,
    licence_of,
    permitted_use,
    training_text,
)
from pellucid.run.weights import read_weights, write_weights

PAGE = Path(__file__).resolve().parent.parent / "pretrained" / "LICENCES.md"
ABOUT_KEY = "licence"  # key of the description of a weights file

TEXT = """# Licences of the shipped weights and of the data they were trained on

Written by `python -m benchmarks.licences`, from `pellucid/data/entries.py` and `pellucid/data/trained_on.py`.

The files in this folder are licensed under {weights}, as is Pellucid. The data that they were trained on have
licences of their own, which may limit what the weights may be used for. This page lists what the authors of the data
say; it is no legal advice.

## Weights

Weights are free if the licences of all of their data permit commercial use. The data include those of the weights from
which a training started, or whose outputs it reproduced: `signs` started from `cifar`; `bccd`, `camvid`, `faces` and
`pennfudan` started from the MobileNetV2 of Keras Applications, which `backbone` reproduces. It was trained on ImageNet,
and is published under Apache-2.0.

| weights | free | trained on | use |
|---|---|---|---|
{weights_rows}

## Data

"{no_licence}" means that the text of the source that could be read for this page names none. That is not a
permission: ask the authors before commercial use.

| data | licence | free | what the source says | source |
|---|---|---|---|---|
{data_rows}
"""


def licence_row(name: str) -> str:
    """Return the row on the licence in the card of shipped weights."""
    return f"| licence | {WEIGHTS_LICENCE} for the weights; {training_text(name)}; see [LICENCES.md](LICENCES.md) |"


def with_licence(name: str, about: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a weights file with the licences of shipped weights."""
    return {**about, ABOUT_KEY: licence_json(name)}


def licences_page() -> str:
    """Return the text of pretrained/LICENCES.md."""
    return TEXT.format(
        weights=WEIGHTS_LICENCE,
        no_licence=NO_LICENCE,
        weights_rows="\n".join(_weights_rows()),
        data_rows="\n".join(_data_rows()),
    )


def _weights_rows() -> Iterator[str]:
    for name in sorted(TRAINED_ON):
        free = "yes" if is_free(name) else "no"
        yield f"| [{name}]({name}.md) | {free} | {data_text(name)} | {permitted_use(name)} |"


def _data_rows() -> Iterator[str]:
    used = {data for names in TRAINED_ON.values() for data in names}
    for data in (*(name for name in CATALOGUE if name in used), IMAGENET):
        licence = licence_of(data)
        free = "yes" if licence.is_free else "no"
        yield f"| {data} | {licence.name} | {free} | {licence.statement} | {licence.source} |"


def rewrite_card(name: str, card: str, size: int) -> str:
    """Return a card with the licence as it is now, and with the size in bytes of the weights file."""
    for data in CATALOGUE.keys() & TRAINED_ON[name]:  # rows of the table of training images, if the card has one
        card = re.sub(
            rf"^(\| {data} \| \d.* \| ).*( \|)$", rf"\g<1>{CATALOGUE[data].about}\g<2>", card, flags=re.MULTILINE
        )
    card, licences = re.subn(r"^\| licence \| .* \|$", lambda _: licence_row(name), card, flags=re.MULTILINE)
    card, sizes = re.subn(r"^(\| file \| )[\d,]+( bytes)", rf"\g<1>{size:,}\g<2>", card, flags=re.MULTILINE)
    if (licences, sizes) != (1, 1):
        raise SystemExit(f"the card of {name} has {licences} rows on its licence and {sizes} on its file, not one each")
    return card


def main() -> None:
    for name in shipped_files.pretrained_names():
        file = shipped_files.pretrained_file(name)
        tensors, about = read_weights(file)
        if about.get(ABOUT_KEY) != licence_json(name):
            write_weights(file, tensors, with_licence(name, about))
        path = file.with_suffix(".md")
        card = path.read_text(encoding="utf-8")
        path.write_text(rewrite_card(name, card, file.stat().st_size), encoding="utf-8")
        print(f"{name}: {licence_row(name)}", flush=True)
    PAGE.write_text(licences_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
