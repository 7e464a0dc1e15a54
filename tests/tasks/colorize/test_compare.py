"""The table and page that compare colorizers, and the page with the question which picture is real."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest

from pellucid.base.errors import PellucidError
from pellucid.metrics.bootstrap import wilson
from pellucid.tasks.colorize.measure import evaluate
from pellucid.tasks.colorize.pages import name_models, questions, real_page
from tests.pages import without_script
from tests.tasks.colorize.tiny import colorizer, halving_net


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    rng = np.random.default_rng(0)
    for k in range(6):
        Image.fromarray(rng.integers(0, 256, (12, 14, 3), dtype=np.uint8)).save(root / f"{k}.png")
    return root


def test_compare_writes_one_table_and_page(folder, tmp_path, run):
    models = {"a": colorizer(), "b": colorizer(net=halving_net())}
    for name, model in models.items():
        model.save(tmp_path / f"{name}.safetensors")
    files = [tmp_path / f"{name}.safetensors" for name in models]
    code, output, _ = run("colorize", "compare", *files, "--data", folder, "--out", tmp_path / "it.html")
    assert code == 0
    assert [*output["rows"]] == ["a.safetensors", "b.safetensors", "grey"]
    for name, model in models.items():
        evaluation = evaluate(model, str(folder))
        for figure, value in output["rows"][f"{name}.safetensors"].items():
            assert value == pytest.approx(evaluation[figure], rel=1e-6)
        assert output["rows"]["grey"]["psnr"] == pytest.approx(evaluation["psnr_grey"])
    page = (tmp_path / "it.html").read_text()
    assert page.count("<img") == 6 * 4  # grey, two models, original
    assert f"{output['rows']['b.safetensors']['psnr']:.4g}" in page
    without_script(page)


def test_models_are_named_by_the_differing_part_of_their_paths():
    model = colorizer()
    assert [*name_models(["runs/a-1", "runs/b-1/"], [model] * 2)] == ["a-1", "b-1"]
    assert [*name_models(["x/a", "y/a", "colorize"], [model] * 3)] == ["x/a", "y/a", "colorize"]
    with pytest.raises(PellucidError, match="given twice"):
        name_models(["a", "a"], [model] * 2)


@pytest.mark.parametrize(("count", "n"), [(0, 40), (11, 40), (40, 40), (1, 1), (300, 1000)])
def test_the_interval_equals_scipys_wilson_interval(count, n):
    expected = binomtest(count, n).proportion_ci(method="wilson")
    assert wilson(count, n) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_the_page_asks_about_random_images_on_random_sides(folder, tmp_path, save, run):
    survey = questions(colorizer(), str(folder), 6, seed=1)
    assert len({question.pictures[question.real].source for question in survey}) == 6
    assert {question.real for question in survey} == {0, 1}
    assert questions(colorizer(), str(folder), 6, seed=1) == survey != questions(colorizer(), str(folder), 6, seed=2)
    code, output, _ = run(
        "colorize", "real", save(), "--data", folder, "--n", 6, "--seed", 1, "--out", tmp_path / "r.html"
    )
    assert code == 0
    assert output["real"] == ["right" if question.real else "left" for question in survey]
    page = (tmp_path / "r.html").read_text()
    assert page == real_page(survey, "Which one is real?")
    without_script(page)
    assert page.count('class="made"') == 6
    with pytest.raises(PellucidError, match="has 6 images; give --n from 1 to that many, not 7"):
        questions(colorizer(), str(folder), 7)


def test_the_answer_key_names_the_original_picture(folder):
    from base64 import b64decode
    from io import BytesIO

    true = {torch.tensor(np.array(Image.open(file))).numpy().tobytes() for file in folder.iterdir()}
    for question in questions(colorizer(), str(folder), 6):
        pixels = [
            np.array(Image.open(BytesIO(b64decode(picture.source.split(",")[1])))).tobytes()
            for picture in question.pictures
        ]
        assert pixels[question.real] in true
        assert pixels[1 - question.real] not in true
