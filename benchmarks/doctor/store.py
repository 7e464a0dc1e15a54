"""The records of trainings: one JSON file for each training, list and seed, from which an interrupted run resumes."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pellucid
from pellucid.base.files import write_atomically
from pellucid.command.out import to_json_types

Record = dict[str, Any]


def doctor_hash() -> str:
    """Return a short hash of the code of the package's and the tasks' doctors."""
    digest = hashlib.sha256()
    for pattern in ("doctor/**/*.py", "tasks/*/doctor.py", "tasks/*/doctor/*.py"):
        for path in sorted(Path(pellucid.__file__).parent.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def slug(name: str) -> str:
    """Return a name for a file."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


class Store:
    """A folder with a folder for each list."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, list_name: str, name: str, seed: int, healthy: bool = False) -> Path:
        """Return where a record is. healthy: whether the training is made without its mistake."""
        return self.folder / list_name / f"{slug(name)}-{seed}{'-healthy' if healthy else ''}.json"

    def read(self, path: Path, code: str) -> Record | None:
        """Return a record, unless it is of other code, or of an error or refusal: data may have been missing."""
        record = json.loads(path.read_text("utf-8")) if path.exists() else {}
        return record if record.get("code") == code and record["verdict"] not in ("error", "refused") else None

    def write(self, path: Path, record: Record) -> None:
        """Write a record at once."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, f"{json.dumps(to_json_types(record), indent=1)}\n".encode())
