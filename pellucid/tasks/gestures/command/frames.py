"""`pellucid gestures predict --video|--camera`: print each change of the predicted gesture, and a summary."""

import argparse
import csv
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from pellucid.calibration.familiarity import score_suffix, score_to_json
from pellucid.command.models import open_model
from pellucid.command.out import emit, plain, say
from pellucid.data.video import camera_frames, video_frames
from pellucid.errors import PellucidError
from pellucid.tasks.gestures.predict import UNCALIBRATED, UNSURE, threshold_of
from pellucid.tasks.gestures.watch import AnswerSmoothing, FrameCounts, SmoothedPrediction, watch
from pellucid.text import note, percent, plural, printable
from pellucid.training.arguments import new_file

COLUMNS = ("frame", "seconds", "answer", "probability", "label", "dropped")  # answer: empty if unsure
SUFFIXES = (".csv", ".jsonl")


def over_frames(args: argparse.Namespace) -> int:
    """Classify frames until the video ends or Ctrl-C is pressed; return the exit code."""
    smoothing = AnswerSmoothing() if args.smoothing is None else AnswerSmoothing(args.smoothing)
    every = 1 if args.every is None else args.every
    if args.out is not None and Path(args.out).suffix not in SUFFIXES:
        raise PellucidError(f"--out {args.out} must end in {' or '.join(SUFFIXES)}")
    camera = args.camera is not None
    frames = camera_frames(args.camera, every) if camera else video_frames(args.video, every)
    model = open_model(args.model)
    tally, stopped, fault = FrameCounts(), False, None
    with _rows(args.out) as write, closing(frames):
        try:
            for smoothed in watch(model, frames, replace(smoothing, threshold=threshold_of(model))):
                tally.add(smoothed)
                write(smoothed)
                if smoothed.changed and not args.json:
                    say(_line(smoothed))
        except KeyboardInterrupt:
            stopped = True
        except PellucidError as error:  # such as an unplugged camera: report the frames before it
            if not tally.frames:
                raise
            stopped, fault = True, error
    if args.json:
        source = f"camera {args.camera}" if camera else args.video
        confidence = None if model.confidence is None else model.confidence.to_json()
        about = {"model": args.model, "confidence": confidence, "source": source}
        emit({**about, **tally.to_json(), "stopped": stopped, "out": args.out})
    else:
        _print(tally, camera)
        if model.confidence is None:
            note(UNCALIBRATED)
    if fault is not None:
        raise fault
    return 0


def _print(tally: FrameCounts, camera: bool) -> None:
    """Print the summary."""
    rate = "" if tally.fps is None else f", {tally.fps:.1f} a second"
    say(f"{plural(tally.frames, 'frame')}{rate}{f', {tally.dropped:,} dropped' if camera else ''}")
    for answer, count in [*tally.answers.most_common(), (UNSURE, tally.unsure)]:
        if count:
            say(f"  {answer}  {percent(count / tally.frames)}")


def _line(smoothed: SmoothedPrediction) -> str:
    """Return a changed prediction as text: time, gesture and probability."""
    time = f"frame {smoothed.number:,}"
    if smoothed.seconds is not None:
        minutes, seconds = divmod(round(smoothed.seconds, 1), 60)
        time = f"{int(minutes)}:{seconds:04.1f}"
    if smoothed.answer is None:
        return (
            f"{time}  {UNSURE}  ({smoothed.label} {percent(smoothed.probability)}){score_suffix(smoothed.familiarity)}"
        )
    return f"{time}  {smoothed.answer}  ({percent(smoothed.probability)}){score_suffix(smoothed.familiarity)}"


@contextmanager
def _rows(path: str | None) -> Iterator[Callable[[SmoothedPrediction], None]]:
    """Open the output file, and yield a function that writes and flushes one row; it does nothing without a path."""
    if path is None:
        yield lambda smoothed: None
        return
    with new_file(path).open("w", encoding="utf-8", newline="") as file:
        yield _to_csv(file) if path.endswith(".csv") else _to_jsonl(file)


def _to_csv(file: IO[str]) -> Callable[[SmoothedPrediction], None]:
    writer = csv.DictWriter(file, [*COLUMNS])
    writer.writeheader()

    def write(smoothed: SmoothedPrediction) -> None:
        writer.writerow(
            {key: printable(value) if isinstance(value, str) else value for key, value in _row(smoothed).items()}
        )
        file.flush()

    return write


def _to_jsonl(file: IO[str]) -> Callable[[SmoothedPrediction], None]:
    def write(smoothed: SmoothedPrediction) -> None:
        row = _row(smoothed) | {"probabilities": smoothed.probabilities, **score_to_json(smoothed.familiarity)}
        file.write(json.dumps(plain(row), allow_nan=False) + "\n")
        file.flush()

    return write


def _row(smoothed: SmoothedPrediction) -> dict[str, Any]:
    values = (
        smoothed.number,
        smoothed.seconds,
        smoothed.answer,
        smoothed.probability,
        smoothed.label,
        smoothed.dropped,
    )
    return dict(zip(COLUMNS, values, strict=True))
