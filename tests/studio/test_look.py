"""The view Look: what it shows of each kind of model equals Python's results, and its controls change it."""

import io
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.combine import Sequential
from pellucid.data.catalogue import data_root
from pellucid.layers import Dense, Flatten
from pellucid.losses import BinaryCrossEntropy
from pellucid.model import Model
from pellucid.nested import map_tree
from pellucid.studio.look.session import METHODS, LookSession, OpenLook, SeePicture
from pellucid.studio.runs import Runs
from pellucid.studio.view import Library
from pellucid.task import Task, register_task, registered
from pellucid.task.look import LabelledPictures, MatchCounts
from pellucid.tasks.detect.pipeline import run_detector
from tests.studio.talk import Tab

SIDES = ("xmin", "ymin", "xmax", "ymax")
SHIPPED = ("bccd", "camvid", "faces", "colorize", "mnist-lenet", "backbone", "signs")


def real_picture(folder: str) -> tuple[Path, torch.Tensor]:
    """Return the first picture of a data set of others, as a file and as (3, H, W) uint8."""
    files = sorted((data_root() / folder).glob("*.jpg")) + sorted((data_root() / folder).glob("*.png"))
    if not files:
        pytest.skip(f"{data_root() / folder} is missing")
    pixels = np.asarray(Image.open(files[0]).convert("RGB"))
    return files[0], torch.tensor(pixels).permute(2, 0, 1).contiguous()


def opened(model: str, picture: torch.Tensor | None = None, **fields: Any) -> tuple[Tab, Any, Any]:
    """Return a tab with a model of the library, the answer of look.open, and that of look.picture."""
    tab = Tab(Library(("mnist-lenet",), Model.load, shipped=SHIPPED))
    answer = tab.ask("look.open", model=model)
    assert answer["kind"] == "look.open", answer
    if picture is None:
        return tab, answer, tab.ask("look.picture", sample=answer["sample"], **fields)
    upload, _ = tab.session.library.uploads.add(png(picture))
    return tab, answer, tab.ask("look.picture", upload=upload, **fields)


def png(picture: torch.Tensor) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(buffer, "PNG")
    return buffer.getvalue()


def layer(answer: Any, name: str, part: str) -> torch.Tensor:
    """Return a tensor of the layer with a name."""
    index = [entry["name"] for entry in answer["layers"]].index(name)
    return answer["tensors"][f"{part}{index}"]


def iou(a: Any, b: Any) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def kept_boxes(boxes: np.ndarray, scores: np.ndarray, score: float, limit: float) -> list[tuple[int, int]]:
    """Return the detections (candidate, class) by greedy suppression in plain Python, by descending score."""
    kept: list[tuple[int, int]] = []
    pairs = [(k, c) for k in range(len(boxes)) for c in range(scores.shape[1]) if scores[k, c] >= np.float32(score)]
    for k, c in sorted(pairs, key=lambda pair: -scores[pair]):
        if all(c != other or iou(boxes[k], boxes[index]) <= limit for index, other in kept):
            kept.append((k, c))
    return kept


@pytest.mark.real
def test_boxes_are_those_of_predict_and_thresholds_those_of_greedy_suppression() -> None:
    file, picture = real_picture("bccd/JPEGImages")
    tab, answer, seen = opened("bccd", picture)
    (expected,) = Model.load("bccd").predict(file)
    assert [control["name"] for control in answer["controls"]] == ["score", "iou"]
    torch.testing.assert_close(layer(seen, "boxes", "boxes"), expected.boxes, rtol=1e-4, atol=2e-2)
    torch.testing.assert_close(layer(seen, "boxes", "scores"), expected.scores, rtol=1e-4, atol=1e-4)
    assert seen["line"] == expected.line.partition(": ")[2]
    candidates = tab.session.sessions["look"].look.outputs.candidates
    boxes, scores = candidates.boxes.numpy(), candidates.scores.numpy()
    scale = picture.shape[2] / candidates.size[1]
    counts = []
    for score, limit in ((0.5, 0.6), (0.3, 0.6), (0.3, 0.2), (0.7, 0.9)):
        changed = tab.ask("look.change", values=[score, limit])
        kept = kept_boxes(boxes, scores, score, limit)[:100]
        np.testing.assert_allclose(layer(changed, "boxes", "scores"), [scores[pair] for pair in kept], rtol=1e-5)
        np.testing.assert_allclose(layer(changed, "boxes", "boxes"), [boxes[k] * scale for k, _ in kept], rtol=1e-4)
        assert layer(changed, "boxes", "labels").tolist() == [c for _, c in kept]
        above = int((scores >= np.float32(score)).sum())
        assert len(layer(changed, "before suppression", "boxes")) == above
        assert len(layer(changed, "removed by suppression", "boxes")) == above - len(kept)
        assert len(layer(changed, "anchors of the boxes", "boxes")) == len(kept)
        counts.append(len(kept))
    assert len(set(counts)) > 2
    assert tab.ask("look.change", values=[2.0, 0.5])["message"].startswith("score must be 0 to 1")


@pytest.mark.real
def test_a_box_is_explained_for_its_class_and_against_another() -> None:
    _, picture = real_picture("bccd/JPEGImages")
    tab, _, _ = opened("bccd", picture)
    seen = tab.ask("look.change", values=[0.2, 0.6])
    number = len(layer(seen, "boxes", "boxes"))  # a box of a low score, which the default threshold would hide
    x0, y0, x1, y1 = layer(seen, "boxes", "boxes")[number - 1].round().int().tolist()
    place = [max(0, y0), max(0, x0), min(y1, picture.shape[1]), min(x1, picture.shape[2])]
    maps = {}
    for of in ("RBC", "WBC"):
        answer = tab.ask("look.why", place=place, of=of, method="lrp", values=[0.2, 0.6])
        assert answer["label"] == f"{of} of box {number}"
        maps[of] = answer["tensors"]["map"]
        found = run_detector(Model.load("bccd"), picture)  # starts from the score, where the view starts from the logit
        distances = (found.detections.boxes - torch.tensor([x0, y0, x1, y1])).abs().amax(1)
        box = int(distances.argmin()) + 1
        label = found.classes.index(of)
        score = float(found.outputs.candidates.scores[found.decision.selected_indices[box - 1], label])
        expected = found.explain(box, of, "lrp") * found.output(box, of) / score
        torch.testing.assert_close(maps[of], expected, rtol=1e-2, atol=1e-5)
    against = tab.ask("look.why", place=place, of="RBC", against="WBC", method="lrp", values=[0.2, 0.6])
    torch.testing.assert_close(against["tensors"]["map"], maps["RBC"] - maps["WBC"], rtol=1e-3, atol=1e-6)
    assert not against["is_unsigned"]
    default = tab.ask("look.why", place=place, values=[0.2, 0.6])["label"].split()[0]
    own = tab.ask("look.why", place=place, against=default, method="lrp", values=[0.2, 0.6])
    assert own["against"] is None  # the difference to itself would be an empty map
    torch.testing.assert_close(own["tensors"]["map"], maps[default], rtol=1e-3, atol=1e-6)
    refused = tab.ask("look.why", place=place, of="RBC", method="lrp", values=[0.95, 0.6])
    assert "no object with a score of at least 0.95" in refused["message"]


@pytest.mark.real
def test_precision_and_recall_on_a_labelled_folder_are_those_of_a_plain_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = data_root() / "bccd"
    if not root.is_dir():
        pytest.skip(f"{root} is missing")
    names = (root / "ImageSets/Main/val.txt").read_text().split()[:3]
    own = tmp_path / "own"
    for part, end in (("JPEGImages", "jpg"), ("Annotations", "xml")):
        (own / part).mkdir(parents=True)
        for name in names:
            (own / part / f"{name}.{end}").write_bytes((root / part / f"{name}.{end}").read_bytes())
    tab = Tab(Library(("bccd",), Model.load, Runs(tmp_path, [str(own)])))
    assert str(own) in tab.ask("look.open")["data"]
    assert "no data of --data" in tab.ask("look.judge", data=str(root))["message"]
    assert "send look.judge first" in tab.ask("look.picture", labelled=0)["message"]
    classes = Model.load("bccd").classes or ()
    for values in ([0.5, 0.6], [0.3, 0.3], [0.02, 0.5]):
        rows: list[Any] = []
        curve = None
        while curve is None:
            answer = tab.ask("look.judge", data=str(own), start=len(rows), values=values)
            rows += answer["rows"]
            curve = answer["curve"]
        assert [Path(row["name"]).stem for row in rows] == sorted(names)
        for index, row in enumerate(rows):
            shown = tab.ask("look.picture", labelled=index, values=values)
            boxes = layer(shown, "boxes", "boxes").numpy()
            labels = layer(shown, "boxes", "labels").tolist()
            tree = ElementTree.parse(own / "Annotations" / f"{Path(row['name']).stem}.xml")
            truth = [
                (
                    classes.index(node.findtext("name", "")),
                    [float(node.findtext(f"bndbox/{side}", "nan")) for side in SIDES],
                )
                for node in tree.iter("object")
            ]
            free = set(range(len(truth)))
            right = 0
            for box, label in zip(boxes, labels, strict=True):  # by descending score
                overlaps = {k: iou(box, truth[k][1]) for k in free if truth[k][0] == label}
                best = max(overlaps, key=lambda k: overlaps[k], default=-1)
                if best >= 0 and overlaps[best] >= 0.5:
                    free.remove(best)
                    right += 1
            assert row["counts"] == [right, len(boxes) - right, len(free)]
            assert len(layer(shown, "false", "boxes")) == len(boxes) - right
            assert len(layer(shown, "missed", "boxes")) == len(free)
    recalls = [recall for recall, _ in curve]
    assert recalls == sorted(recalls)
    monkeypatch.setattr("pellucid.tasks.detect.labelled.MAX_PICTURES", 2)
    tab.ask("look.open")
    answer = tab.ask("look.judge", data=str(own))
    assert (answer["total"], answer["available"]) == (2, 3)


@pytest.mark.heavy
@pytest.mark.real
def test_classes_of_pixels_are_those_of_predict_also_by_the_crf() -> None:
    file, picture = real_picture("camvid/val")
    tab, _, seen = opened("camvid", picture, maps=[["Probability", "road"]])
    (expected,) = Model.load("camvid").predict(file)
    assert torch.equal(layer(seen, "classes", "mask"), expected.mask)
    assert {bar["name"]: bar["value"] for bar in seen["bars"]} == pytest.approx(expected.values["areas"])
    road = seen["classes"].index("road")
    probability = layer(seen, "road", "values")
    assert bool((probability[expected.mask == road] > 1 / 11).all())
    sent = [name for name in seen["tensors"] if name.startswith("values")]
    assert len(sent) == 1  # the other maps are sent when they are chosen
    from pellucid.tasks.segment.segmenter import Segmenter

    refined = tab.ask("look.change", values=[1])
    direct = Segmenter(Model.load("camvid"), crf=True)(picture)
    assert torch.equal(layer(refined, "classes", "mask"), direct.mask)
    assert not torch.equal(direct.mask, expected.mask)
    assert torch.equal(layer(tab.ask("look.change", values=[0]), "classes", "mask"), expected.mask)
    row, column = (expected.mask == road).nonzero()[50].tolist()
    why = tab.ask("look.why", place=[row, column, row + 1, column + 1])
    assert why["choices"][why["chosen"]] == "road"


@pytest.mark.real
def test_heat_maps_lie_over_their_points_in_a_wide_picture() -> None:
    _, face = real_picture("faces/val")
    wide = torch.nn.functional.pad(face[None].float(), (56, 56, 0, 0), mode="replicate")[0].byte()
    tab, _, seen = opened("faces", wide)
    names = [entry["name"] for entry in seen["layers"] if entry.get("group") == "Heat maps"]
    assert len(names) == 69
    points = layer(seen, "points", "points")
    for name in (names[1], names[31], names[60]):
        shown = tab.ask("look.change", maps=[["Heat maps", name]])
        values = layer(shown, name, "values")
        row, column = divmod(int(values.argmax()), values.shape[1])
        x = (column + 0.5) / values.shape[1] * wide.shape[2]
        y = (row + 0.5) / values.shape[0] * wide.shape[1]
        found = points[names.index(name) - 1]
        cell = wide.shape[2] / 28
        assert abs(x - float(found[0])) < 1.5 * cell
        assert abs(y - float(found[1])) < 1.5 * cell
        x, y = (int(value) for value in found[:2])
        why = tab.ask("look.why", place=[y, x, y + 1, x + 1])
        assert why["label"] == f"x of {name}"


def test_colours_are_those_of_predict_and_strength_0_is_grey() -> None:
    tab, answer, seen = opened("colorize")
    assert not answer["takes_hints"]
    assert "trained without hints" in seen["line"]
    colorized = layer(seen, "colorized", "image")
    (expected,) = Model.load("colorize").predict([as_file(seen["tensors"]["picture"])])
    assert torch.equal(colorized, expected.image[:3])
    grey = layer(tab.ask("look.change", values=[0.0]), "colorized", "image").int()
    assert int((grey - grey[:1]).abs().max()) <= 1
    assert "takes no hints" in tab.ask("look.change", hints=[[1, 2, 200, 30, 30]])["message"]


def as_file(picture: torch.Tensor) -> Any:
    """Return the path of a picture in a temporary file."""
    import tempfile

    file = Path(tempfile.mkdtemp()) / "picture.png"
    file.write_bytes(png(picture))
    return file


def test_hints_colour_a_picture_for_a_model_that_takes_them() -> None:
    from pellucid.generators import l1
    from pellucid.tasks.colorize.colorizer import Colorizer
    from pellucid.tasks.colorize.hints import Hint

    model = Model(l1(width=8, levels=2, hints=True), input_shape=(1, 16, 16))
    tab = Tab(Library(("coloured",), lambda _: model))
    assert tab.ask("look.open")["takes_hints"]
    assert "hints" not in tab.ask("look.picture", sample="photo 0")["line"]
    picture = tab.session.sessions["look"].look.picture
    before = layer(tab.ask("look.change"), "colorized", "image")
    after = layer(tab.ask("look.change", hints=[[300, 200, 255, 0, 0]]), "colorized", "image")
    assert not torch.equal(before, after)
    assert torch.equal(after, Colorizer(model)(picture, [Hint(300, 200, (255, 0, 0))])[:3])
    assert torch.equal(layer(tab.ask("look.change"), "colorized", "image"), before)
    assert "hint must be" in tab.ask("look.change", hints=[[1, 2, 300, 0, 0]])["message"]
    assert "outside the picture" in tab.ask("look.change", hints=[[5000, 2, 30, 0, 0]])["message"]


def test_each_label_has_a_threshold() -> None:
    classes = ("cat", "dog", "boat")
    net = Sequential(flat=Flatten(), scores=Dense(3))
    model = Model(net, loss=BinaryCrossEntropy(), input_shape=(1, 8, 8), classes=classes)
    model.preprocess["table"] = {"kind": "labels"}
    tab = Tab(Library(("labels",), lambda _: model))
    answer = tab.ask("look.open")
    assert [control["name"] for control in answer["controls"]] == list(classes)
    seen = tab.ask("look.picture", sample="digit 3")
    probabilities = [bar["value"] for bar in seen["bars"]]
    lowest = min(probabilities)
    changed = tab.ask("look.change", values=[lowest, lowest, 1.0])
    assert changed["label"] == "cat, dog"
    assert [bar["threshold"] for bar in changed["bars"]] == [lowest, lowest, 1.0]


def test_one_control_shifts_the_thresholds_of_many_labels() -> None:
    """At first the labels are those of `predict`: of probabilities of 0.5, those with a threshold of 0.2."""
    classes = ("shift", *(f"label{k}" for k in range(12)))
    model = Model(
        Sequential(flat=Flatten(), scores=Dense(13)), loss=BinaryCrossEntropy(), input_shape=(1, 8, 8), classes=classes
    )
    thresholds = [0.2] * 6 + [0.8] * 7
    model.preprocess |= {"table": {"kind": "labels"}, "thresholds": thresholds}
    model.params = map_tree(torch.zeros_like, model.params)
    tab = Tab(Library(("labels",), lambda _: model))
    (control,) = tab.ask("look.open")["controls"]
    seen = tab.ask("look.picture", sample="digit 3", values=[control["value"]])
    assert seen["label"] == ", ".join(classes[:6])
    assert [bar["threshold"] for bar in seen["bars"]] == pytest.approx(thresholds)
    assert tab.ask("look.change", values=[-0.4])["label"] == ", ".join(classes)
    assert tab.ask("look.change", values=[0.4])["label"] == "no label"


def test_a_classifier_shows_its_probabilities_and_explains_its_class() -> None:
    tab, _, seen = opened("mnist-lenet")
    model = Model.load("mnist-lenet")
    from pellucid.studio.pictures import sample

    (expected,) = model.predict([as_file(sample("digit 0"))])
    assert {bar["name"]: bar["value"] for bar in seen["bars"]} == pytest.approx(
        expected.values["probabilities"], abs=1e-5
    )
    assert seen["tensors"]["picture"].shape == (3, 28, 28)
    for method in METHODS:
        why = tab.ask("look.why", method=method)
        assert why["label"] == expected.label
        assert why["tensors"]["map"].shape == (28, 28)
    why = tab.ask("look.why", method="lrp")
    assert float(why["tensors"]["map"].sum()) == pytest.approx(max(why["scores"]), rel=0.1)


def test_a_task_that_only_predicts_is_shown_without_a_line_in_the_studio() -> None:
    """A plugin's task with nothing but a predictor: its boxes, line and numbers appear."""
    from pellucid.predictor import Predicted, Predictor
    from pellucid.task import Evaluation

    class Corner(Predictor):
        def predict_one(self, picture: Any, image: torch.Tensor) -> Predicted:
            boxes = torch.tensor([[1.0, 2.0, 5.0, 6.0]])
            values = {"image": picture.file, "measures": {"length": 3.5}}
            return Predicted(values, f"{picture.file}: a corner", boxes=boxes, scores=torch.ones(1), labels=("corner",))

    class Corners(Task):
        name = "corners"
        model = "finder of corners"

        def matches(self, model: Any) -> bool:
            return model.preprocess.get("corners") is True

        def evaluate(self, model: Any, name: str, data: str | None, **options: Any) -> Evaluation:
            return Evaluation({})

        def predictor(self, model: Any, out: Any = None) -> Predictor:
            return Corner()

    model = Model.load("mnist-lenet")
    model.preprocess["corners"] = True
    register_task(Corners())
    try:
        tab = Tab(Library(("own",), lambda _: model))
        assert tab.ask("look.open")["task"] == "corners"
        seen = tab.ask("look.picture", sample="photo 0")
        assert layer(seen, "boxes", "boxes").tolist() == [[1, 2, 5, 6]]
        assert (seen["line"], seen["classes"]) == ("a corner", ["corner"])
        assert seen["bars"] == [{"name": "length", "value": 3.5, "threshold": None, "is_fraction": False}]
        assert tab.ask("look.card", model="own")["task"] == "corners"
    finally:
        del registered._TASKS["corners"]


class _WithoutMistakes(LabelledPictures):
    """One picture whose predictions are right."""

    names = ("one",)
    available = 1

    def picture(self, index: int) -> torch.Tensor:
        return torch.zeros(3, 48, 64, dtype=torch.uint8)

    def judge(self, index: int, values: Any) -> MatchCounts:
        return MatchCounts(1, 0, 0)

    def mistakes(self, index: int, values: Any) -> Any:
        return ()

    def curve(self, values: Any) -> Any:
        return []


def test_no_layer_of_a_picture_without_mistakes_is_marked_as_one() -> None:
    session = LookSession(Library(("colorize",), Model.load))
    session.open(OpenLook())
    session._labelled = (None, _WithoutMistakes())
    layers = session.picture(SeePicture(labelled=0)).fields["layers"]
    assert layers
    assert not any("mark" in entry for entry in layers)
