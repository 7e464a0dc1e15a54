"""`pellucid gestures predict --video|--camera`: print each change of the predicted gesture, and a summary."""

import argparse
import csv
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from pellucid.base.errors import PellucidError
from pellucid.base.text import note, percent, plural, printable
from pellucid.calibration.familiarity import familiarity_suffix, familiarity_to_json
from pellucid.command.models import open_model
from pellucid.command.out import print_json, print_lines, to_json_types
from pellucid.data.video import camera_frames, video_frames
from pellucid.tasks.classify.predictor import UNSURE, threshold_of
from pellucid.tasks.gestures.watch import (
    UNCALIBRATED_NOTE,
    AnswerSmoothing,
    FrameCounts,
    SmoothedPrediction,
    watch,
)
from pellucid.training.arguments import output_path

# The columns of the output file, and the fields of a prediction; the answer is empty if unsure.
ROW_COLUMNS = {
    "frame": "number",
    "seconds": "seconds",
    "answer": "answer",
    "probability": "probability",
    "label": "label",
    "dropped": "dropped",
}
OUT_SUFFIXES = (".csv", ".jsonl")


def classify_frames(args: argparse.Namespace) -> int:
    """Classify frames until the video ends or Ctrl-C is pressed; return the exit code."""
    smoothing = AnswerSmoothing() if args.smoothing is None else AnswerSmoothing(args.smoothing)
    every = 1 if args.every is None else args.every
    if args.out is not None and Path(args.out).suffix not in OUT_SUFFIXES:
        raise PellucidError(f"--out {args.out} must end in {' or '.join(OUT_SUFFIXES)}")
    is_camera = args.camera is not None
    frames = camera_frames(args.camera, every) if is_camera else video_frames(args.video, every)
    model = open_model(args.model)
    tally, was_stopped, fault = FrameCounts(), False, None
    with _row_writer(args.out) as write, closing(frames):
        try:
            for prediction in watch(model, frames, replace(smoothing, threshold=threshold_of(model))):
                tally.add(prediction)
                write(prediction)
                if prediction.changed and not args.json:
                    print_lines(_answer_line(prediction))
        except KeyboardInterrupt:
            was_stopped = True
        except PellucidError as error:  # such as an unplugged camera: report on the frames before the error
            if not tally.frames:
                raise
            was_stopped, fault = True, error
    if args.json:
        source = f"camera {args.camera}" if is_camera else args.video
        confidence = None if model.confidence is None else model.confidence.to_json()
        # engine: what computed the network, such as "onnxruntime"
        header = {"model": args.model, "engine": tally.engine, "confidence": confidence, "source": source}
        print_json({**header, **tally.to_json(), "stopped": was_stopped, "out": args.out})
    else:
        _print_summary(tally, is_camera)
        if model.confidence is None:
            note(UNCALIBRATED_NOTE)
    if fault is not None:
        raise fault
    return 0


def _print_summary(tally: FrameCounts, is_camera: bool) -> None:
    """Print the number and rate of the frames, and the fraction of each answer."""
    rate_text = "" if tally.fps is None else f", {tally.fps:.1f} a second"
    print_lines(f"{plural(tally.frames, 'frame')}{rate_text}{f', {tally.dropped:,} dropped' if is_camera else ''}")
    for answer, count in [*tally.answers.most_common(), (UNSURE, tally.unsure)]:
        if count:
            print_lines(f"  {answer}  {percent(count / tally.frames)}")


def _answer_line(prediction: SmoothedPrediction) -> str:
    """Return a changed prediction as text: time, gesture and probability."""
    time_text = f"frame {prediction.number:,}"
    if prediction.seconds is not None:
        minutes, seconds = divmod(round(prediction.seconds, 1), 60)
        time_text = f"{int(minutes)}:{seconds:04.1f}"
    answer_text, reason_text = prediction.answer, percent(prediction.probability)
    if answer_text is None:
        answer_text, reason_text = UNSURE, f"{prediction.label} {reason_text}"
    return f"{time_text}  {answer_text}  ({reason_text}){familiarity_suffix(prediction.familiarity)}"


@contextmanager
def _row_writer(path: str | None) -> Iterator[Callable[[SmoothedPrediction], None]]:
    """Open the output file, and yield a function that writes and flushes one row; it does nothing without a path."""
    if path is None:
        yield lambda prediction: None
        return
    with output_path(path).open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ROW_COLUMNS) if path.endswith(".csv") else None
        if table is not None:
            table.writeheader()

        def write(prediction: SmoothedPrediction) -> None:
            row = {column: getattr(prediction, field) for column, field in ROW_COLUMNS.items()}
            if table is not None:
                table.writerow(
                    {key: printable(value) if isinstance(value, str) else value for key, value in row.items()}
                )
            else:
                row |= {"probabilities": prediction.probabilities, **familiarity_to_json(prediction.familiarity)}
                file.write(json.dumps(to_json_types(row), allow_nan=False) + "\n")
            file.flush()

        yield write
