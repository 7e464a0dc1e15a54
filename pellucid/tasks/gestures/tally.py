"""What a video or camera came to: how many frames, how fast, which answers, and when they changed."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pellucid.tasks.gestures.watch import Seen


@dataclass
class Tally:
    """Counts what is seen, frame by frame; `clock` gives seconds.

    answers: how many frames had each class as their answer; unsure: how many had none. fps: frames per second from
    the first answer to the last, network included, None before there are two.
    """

    clock: Callable[[], float] = time.monotonic
    frames: int = 0
    dropped: int = 0
    unsure: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    changes: list[dict[str, Any]] = field(default_factory=list)
    first: float = 0.0
    last: float = 0.0

    def add(self, seen: Seen) -> None:
        """Count one frame."""
        self.last = self.clock()
        if not self.frames:
            self.first = self.last
        self.frames += 1
        self.dropped += seen.dropped
        if seen.answer is None:
            self.unsure += 1
        else:
            self.answers[seen.answer] += 1
        if seen.changed:
            self.changes.append(
                {"frame": seen.number, "seconds": seen.seconds, "answer": seen.answer, "probability": seen.probability}
            )

    @property
    def seconds(self) -> float:
        """Seconds from the first answer to the last."""
        return self.last - self.first

    @property
    def fps(self) -> float | None:
        """Frames per second."""
        return (self.frames - 1) / self.seconds if self.seconds > 0 else None

    def to_json(self) -> dict[str, Any]:
        """Return the counts as JSON values, the most frequent answer first."""
        return {
            "frames": self.frames,
            "dropped": self.dropped,
            "seconds": self.seconds,
            "fps": self.fps,
            "answers": dict(self.answers.most_common()),
            "unsure": self.unsure,
            "changes": self.changes,
        }
