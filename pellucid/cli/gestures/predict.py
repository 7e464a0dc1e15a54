"""`pellucid gestures predict`: classify the gestures in images, a video or a camera."""

import argparse

from pellucid.cli.args import Parser
from pellucid.cli.models import MODEL_HELP
from pellucid.errors import PellucidError

SHOWN = 3  # most probable classes that text output lists
OF_FRAMES = ("smoothing", "every", "out")  # options that do not apply to pictures


def parser() -> Parser:
    """Return the parser of this command."""
    it = Parser(
        "gestures predict",
        "Name the gesture in pictures, or in each frame of a video or camera; below the model's calibrated confidence "
        "the answer is unsure. Over frames an answer stays while it is no more than 0.2 below that.",
    )
    it.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    it.add_argument("images", metavar="IMAGE", nargs="*", help="picture files of any size")
    it.add_argument("--video", metavar="FILE", help="a video file, an animated GIF, or a folder of frames")
    it.add_argument("--camera", metavar="N", type=int, help="a camera by its number, from 0; Ctrl-C ends it")
    it.add_argument(
        "--smoothing",
        metavar="X",
        type=float,
        help="weight of earlier frames, from 0 (off) to below 1 (default: 0.8)",
    )
    it.add_argument("--every", metavar="N", type=int, help="use only every N-th frame (default: 1)")
    it.add_argument("--out", metavar="FILE", help="write a row for each frame, to FILE.csv or FILE.jsonl")
    return it.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print each picture's answer, or each change of the answer over frames."""
    given = [name for name in ("images", "video", "camera") if getattr(args, name) not in ([], None)]
    if len(given) != 1:
        what = " and ".join(given) or "nothing"
        raise PellucidError(
            f"pellucid gestures predict needs pictures, or --video FILE, or --camera N, one of them; this is {what}"
        )
    if given == ["images"]:
        idle = next((name for name in OF_FRAMES if getattr(args, name) is not None), None)
        if idle:
            raise PellucidError(f"pellucid gestures predict: --{idle} goes with --video or --camera only; leave it out")
        return _pictures(args)
    from pellucid.cli.gestures.frames import over_frames

    return over_frames(args)


def _pictures(args: argparse.Namespace) -> int:
    """Print the answer to each picture that can be read, and on stderr what is wrong with the others."""
    from pellucid.calibration.familiarity import score_suffix, score_to_json
    from pellucid.cli.gestures import warn_uncalibrated
    from pellucid.cli.models import open_model
    from pellucid.cli.out import emit, percent, say
    from pellucid.tasks.gestures.predict import predict
    from pellucid.text import note

    model = open_model(args.model)
    faults: dict[str, PellucidError] = {}
    found = predict(model, args.images, faults)
    if not found:
        raise next(iter(faults.values()))
    if args.json:
        rows = [
            {
                "image": one.name,
                "answer": one.answer,
                "label": one.label,
                "probability": one.probability,
                "probabilities": one.probabilities,
                **score_to_json(one.familiarity),
            }
            for one in found
        ]
        confidence = None if model.confidence is None else model.confidence.to_json()
        skipped = [{"image": name, "reason": str(error)} for name, error in faults.items()]
        emit({"model": args.model, "confidence": confidence, "predictions": rows, "skipped": skipped})
        return 0
    for one in found:
        best = ", ".join(f"{label} {percent(p)}" for label, p in one.best(SHOWN))
        say(f"{one.name}: {one.text}  ({best}){score_suffix(one.familiarity)}")
    for error in faults.values():
        note(f"left out: {error}")
    warn_uncalibrated(model.confidence is None)
    return 0
