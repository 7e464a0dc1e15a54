"""`pellucid gestures predict`: classify the gestures in images, a video or a camera."""

import argparse

from pellucid.base.errors import PellucidError
from pellucid.base.text import note
from pellucid.command.args import Parser
from pellucid.command.models import open_model
from pellucid.command.out import OWN_ENGINE, print_json, print_lines

FRAME_OPTIONS = ("smoothing", "every", "out")  # options for videos and cameras only


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "gestures predict",
        "Classify the gesture in images, or in each frame of a video or camera. Below the model's confidence threshold "
        "the answer is unsure; from frame to frame an answer is kept down to 0.2 below the threshold.",
    )
    parser.model_argument()
    parser.add_argument("images", metavar="IMAGE", nargs="*", help="image files of any size")
    parser.add_argument("--video", metavar="FILE", help="a video file, an animated GIF, or a folder of frames")
    parser.add_argument("--camera", metavar="N", type=int, help="a camera by its number, from 0; Ctrl-C ends it")
    parser.add_argument(
        "--smoothing", metavar="X", type=float, help="weight of earlier frames, from 0 (off) to below 1 (default: 0.8)"
    )
    parser.add_argument("--every", metavar="N", type=int, help="use only every N-th frame (default: 1)")
    parser.add_argument("--out", metavar="FILE", help="write a row for each frame, to FILE.csv or FILE.jsonl")
    return parser.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the predicted gesture of each image, or each change of the predicted gesture over frames."""
    sources = [name for name in ("images", "video", "camera") if getattr(args, name) not in ([], None)]
    if len(sources) != 1:
        names = " and ".join(sources) or "nothing"
        raise PellucidError(
            f"pellucid gestures predict needs exactly one of images, --video FILE and --camera N, not {names}"
        )
    if sources == ["images"]:
        wrong_option = next((name for name in FRAME_OPTIONS if getattr(args, name) is not None), None)
        if wrong_option:
            raise PellucidError(
                f"pellucid gestures predict: --{wrong_option} is only for --video and --camera; leave it out"
            )
        return _classify_pictures(args)
    from pellucid.tasks.gestures.command.frames import classify_frames

    return classify_frames(args)


def _classify_pictures(args: argparse.Namespace) -> int:
    """Print the predicted gesture of each image, and report on stderr why images were skipped."""
    from pellucid.predictor import pictures_of, valid_predictions
    from pellucid.tasks.classify.predictor import ClassPredictor
    from pellucid.tasks.gestures.watch import UNCALIBRATED_NOTE

    model = open_model(args.model)
    predictor = ClassPredictor(model, says_unsure=True)
    faults: dict[str, str] = {}
    predictions = list(valid_predictions(predictor, pictures_of(args.images, predictor), faults, "", one_by_one=True))
    if not predictions:
        raise PellucidError(next(iter(faults.values())))
    if args.json:
        confidence = None if model.confidence is None else model.confidence.to_json()
        rows = [prediction.values for prediction in predictions]
        skipped = [{"image": name, "reason": reason} for name, reason in faults.items()]
        header = {"model": args.model, "engine": OWN_ENGINE, "confidence": confidence}
        print_json({**header, "predictions": rows, "skipped": skipped})
        return 0
    print_lines(*(prediction.line for prediction in predictions))
    for reason in faults.values():
        note(f"skipped: {reason}")
    if model.confidence is None:
        note(UNCALIBRATED_NOTE)
    return 0
