"""What ended a training, as its run folder keeps it."""

import json
from pathlib import Path

from pellucid.errors import PellucidError
from pellucid.files import read_regular, write_atomically
from pellucid.training.notfinite import NotFinite


class StoppedError(PellucidError):
    """NaN or infinity in a training: `step`, from 1, and `fault`, the tensor that it is in."""

    def __init__(self, said: str, step: int, fault: NotFinite) -> None:
        super().__init__(said)
        self.step, self.fault = step, fault

    def write(self, path: Path) -> None:
        """Write the error, as JSON."""
        told = {"error": str(self), "step": self.step, "fault": self.fault.to_json()}
        write_atomically(path, (json.dumps(told, indent=2) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> "StoppedError":
        """Return what `write` wrote; PellucidError for anything else."""
        try:
            told = json.loads(read_regular(path))
            return cls(str(told["error"]), int(told["step"]), NotFinite.from_json(told["fault"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise PellucidError(f"{path} cannot be read ({error}); remove it, or train again") from error
