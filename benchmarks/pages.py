"""Write the pages of measurements again from what is stored, without measuring: `python -m benchmarks.pages`.

Use it after a change of a page's text. Pages whose results are stored nowhere else are written by their measurement.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks import growth, profile, results, table
from benchmarks.doctor import against_cleanlab
from benchmarks.doctor import report as doctor
from benchmarks.mutants import report as mutants
from benchmarks.quality import page as quality
from benchmarks.relevance import __main__ as relevance
from benchmarks.scaling import page as scaling
from pellucid.base.files import write_atomically

DOCS = Path(__file__).resolve().parents[1] / "docs"


def pages() -> dict[str, str]:
    """Return the text of each page by its name in docs/."""
    return {
        "benchmarks.md": table.stored_page(),
        "causes.md": doctor.causes_page(stored("causes")),
        "cleanlab.md": against_cleanlab.page(stored("cleanlab")),
        "doctor.md": doctor.doctor_page(stored("doctor")),
        "growth.md": growth.page(stored("growth")),
        "mistakes.md": doctor.mistakes_page(stored("mistakes"), stored("doctor")),
        "mutants.md": mutants.stored_page(DOCS),
        "profile.md": profile.page(stored("profile")),
        "quality.md": quality.text(stored("quality")),
        "relevance.md": relevance.page(stored("relevance")),
        "results.md": results.page(stored("results")),
        "scaling.md": scaling.page(stored("scaling")),
    }


def stored(name: str) -> Any:
    """Return the results in docs/NAME.json."""
    return json.loads((DOCS / f"{name}.json").read_text(encoding="utf-8"))


def main() -> int:
    argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__).parse_args()
    for name, text in pages().items():
        write_atomically(DOCS / name, text.encode())
        print(f"wrote {DOCS / name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
