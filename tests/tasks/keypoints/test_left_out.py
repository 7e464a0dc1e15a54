"""Objects whose normalised mean error has no divisor are left out of validation, evaluation and report."""

import json
from pathlib import Path

import pytest

from pellucid.base.errors import PellucidError
from pellucid.cli.main import main
from pellucid.data.annotations.lint import lint
from pellucid.losses import HeatMaps
from pellucid.model import Model
from pellucid.optim import Adam
from pellucid.tasks.keypoints.finder import KeypointFinder
from pellucid.tasks.keypoints.measure import evaluate
from pellucid.tasks.keypoints.report import find_worst_images
from tests.tasks.keypoints.drawn import write
from tests.tasks.keypoints.test_keypoints import NME_METRIC, errors_by_loop, network, source


def unlabel(file: Path, objects: int, points: int) -> None:
    """Remove the labels of the first `points` key-points of the first `objects` objects of a COCO file."""
    content = json.loads(file.read_text())
    for entry in content["annotations"][:objects]:
        entry["keypoints"][: 3 * points] = [0] * 3 * points
        entry["num_keypoints"] -= points
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("points", [2, 3])
def test_images_with_one_labelled_point_are_left_out_of_validation_evaluation_and_report(
    points: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "train", 4, 0)
    write(tmp_path, "val", 6, 100)
    unlabel(tmp_path / "train.json", 2, points)
    unlabel(tmp_path / "val.json", 2, points)
    validation = source(tmp_path, "val")
    model = Model(network(), HeatMaps(stride=1), Adam(), [NME_METRIC], input_shape=(3, 24, 24))
    model.preprocess = {"data": str(tmp_path)}
    history = model.fit(source(tmp_path, "train"), epochs=1, batch_size=2, validation=validation, verbose=False)
    expected = sum(errors_by_loop(KeypointFinder(model), range(102, 106), (24, 24), 1.0)) / 4
    assert (history["val_nme"], history["val_nme_left_out"]) == (pytest.approx([expected], rel=1e-5), [2])
    results = evaluate(model)
    assert (results["nme"], results["n"], results["nme_left_out"]) == (pytest.approx(expected, rel=1e-5), 4, 2)
    worst = find_worst_images(model, validation)
    assert worst is not None
    assert sorted(map(float, worst.errors), reverse=True) == list(worst.errors)
    assert len(worst.errors) == 4
    model.save(tmp_path / "m.safetensors")
    assert main(["evaluate", str(tmp_path / "m.safetensors"), "--data", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    reason = "since their normalising points are not labelled or coincide"
    assert f"on 4 objects of {tmp_path}; 2 objects left out, {reason}\n" in out
    listed = [fault for fault in lint(tmp_path).faults if "the normalised mean error leaves it out" in fault.reason]
    assert [fault.effect for fault in listed] == ["listed"] * 4


def test_images_of_which_none_can_be_measured_are_refused_in_one_line(tmp_path: Path) -> None:
    write(tmp_path, "val", 3, 100)
    unlabel(tmp_path / "val.json", 3, 2)
    model = Model(network(), HeatMaps(stride=1), Adam(), [NME_METRIC], input_shape=(3, 24, 24))
    with pytest.raises(PellucidError, match="none of the 3 has labelled key-points 0 and 1 at different positions"):
        evaluate(model, str(tmp_path))
