"""The stored results of the cases, one JSON object per line, from which an interrupted benchmark resumes."""

import hashlib
import json
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pellucid.command.out import to_json_types

Record = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("pellucid", "benchmarks/doctor")


def fingerprint(root: Path = ROOT, sources: Sequence[str] = SOURCES) -> str:
    """Return a short hash of all code that a case depends on; results of other code are not reused."""
    digest = hashlib.sha256()
    for folder in sources:
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def commit(root: Path = ROOT, sources: Sequence[str] = SOURCES) -> str:
    """Return the commit of that code, with " with changes" if the code differs from it; "" without a repository."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return ""  # `root` is not a repository itself, but inside another one
        return git("rev-parse", "--short=12", "HEAD") + (" with changes" if git("status", "-s", *sources) else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


class Store:
    """The records of one state of the code, in a file of the work folder."""

    def __init__(self, folder: Path, code: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"cases-{code}.jsonl"
        self.records: dict[str, Record] = {}
        for line in self.path.read_text("utf-8").splitlines() if self.path.exists() else ():
            try:
                record = json.loads(line)
            except ValueError:  # an incomplete last line, written by an interrupted run
                continue
            if "error" not in record:  # cases that failed are run once more
                self.records[record["key"]] = record

    def add(self, record: Record) -> None:
        """Add a record, and append it to the file immediately."""
        self.records[record["key"]] = record
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(to_json_types(record))}\n")

    def records_of(self, keys: Iterable[str]) -> list[Record]:
        """Return the stored records with these keys, in the order of the keys."""
        return [self.records[key] for key in keys if key in self.records]
