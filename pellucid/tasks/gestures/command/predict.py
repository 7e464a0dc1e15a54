"""`pellucid gestures predict`: classify the gestures in images, a video or a camera."""

import argparse

from pellucid.base.errors import PellucidError
from pellucid.base.text import note, percent
from pellucid.command.args import Parser
from pellucid.command.models import open_model
from pellucid.command.out import ENGINE, print_json, print_lines

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
    from pellucid.calibration.familiarity import score_suffix, score_to_json
    from pellucid.tasks.classify.predict import Prediction, predict
    from pellucid.tasks.gestures.watch import UNCALIBRATED_NOTE, UNSURE
    from pellucid.tasks.pictures import class_names

    model = open_model(args.model)
    class_names(model)  # raises PellucidError for a model that is not a classifier
    predictions: list[Prediction] = []
    faults: dict[str, PellucidError] = {}
    for image in args.images:
        try:
            predictions.append(predict(model, image, requires_probabilities=True))
        except PellucidError as error:
            faults[image] = error
    if not predictions:
        raise next(iter(faults.values()))
    if args.json:
        rows = [
            {
                "image": prediction.name,
                "answer": prediction.answer,
                "label": prediction.label,
                "probability": prediction.output,
                "probabilities": prediction.outputs,
                **score_to_json(prediction.familiarity),
            }
            for prediction in predictions
        ]
        confidence = None if model.confidence is None else model.confidence.to_json()
        skipped = [{"image": name, "reason": str(error)} for name, error in faults.items()]
        header = {"model": args.model, "engine": ENGINE, "confidence": confidence}
        print_json({**header, "predictions": rows, "skipped": skipped})
        return 0
    for prediction in predictions:
        top_text = ", ".join(f"{label} {percent(p)}" for label, p in prediction.top_classes)
        answer = UNSURE if prediction.answer is None else prediction.answer
        print_lines(f"{prediction.name}: {answer}  ({top_text}){score_suffix(prediction.familiarity)}")
    for error in faults.values():
        note(f"skipped: {error}")
    if model.confidence is None:
        note(UNCALIBRATED_NOTE)
    return 0
