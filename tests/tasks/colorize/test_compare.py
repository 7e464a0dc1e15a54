"""One table and page for several colorizers, and the page that asks which picture is real."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest

from pellucid.errors import PellucidError
from pellucid.tasks.colorize.measure import evaluate
from pellucid.tasks.colorize.pages import named, questions, real_page, wilson
from tests.pages import without_script
from tests.tasks.colorize.tiny import colorizer, halved


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    rng = np.random.default_rng(0)
    for k in range(6):
        Image.fromarray(rng.integers(0, 256, (12, 14, 3), dtype=np.uint8)).save(root / f"{k}.png")
    return root


def test_compare_writes_one_table_and_page(folder, tmp_path, run):
    models = {"a": colorizer(), "b": colorizer(net=halved())}
    for name, model in models.items():
        model.save(tmp_path / f"{name}.safetensors")
    files = [tmp_path / f"{name}.safetensors" for name in models]
    code, said, _ = run("colorize", "compare", *files, "--data", folder, "--out", tmp_path / "it.html")
    assert code == 0
    assert [*said["rows"]] == ["a.safetensors", "b.safetensors", "grey"]
    for name, model in models.items():
        alone = evaluate(model, str(folder))
        for figure, value in said["rows"][f"{name}.safetensors"].items():
            assert value == pytest.approx(alone[figure], rel=1e-6)
        assert said["rows"]["grey"]["psnr"] == pytest.approx(alone["psnr_grey"])
    page = (tmp_path / "it.html").read_text()
    assert page.count("<img") == 6 * 4  # grey, two models, true
    assert f"{said['rows']['b.safetensors']['psnr']:.4g}" in page
    without_script(page)


def test_models_are_named_by_the_differing_part_of_their_paths():
    model = colorizer()
    assert [*named(["runs/a-1", "runs/b-1/"], [model] * 2)] == ["a-1", "b-1"]
    assert [*named(["x/a", "y/a", "colorize"], [model] * 3)] == ["x/a", "y/a", "colorize"]
    with pytest.raises(PellucidError, match="given twice"):
        named(["a", "a"], [model] * 2)


@pytest.mark.parametrize(("count", "n"), [(0, 40), (11, 40), (40, 40), (1, 1), (300, 1000)])
def test_the_interval_is_wilsons(count, n):
    expected = binomtest(count, n).proportion_ci(method="wilson")
    assert wilson(count, n) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_the_page_asks_about_random_images_on_random_sides(folder, tmp_path, save, run):
    asked = questions(colorizer(), str(folder), 6, seed=1)
    assert len({one.pictures[one.real].source for one in asked}) == 6
    assert {one.real for one in asked} == {0, 1}
    assert questions(colorizer(), str(folder), 6, seed=1) == asked != questions(colorizer(), str(folder), 6, seed=2)
    code, said, _ = run(
        "colorize", "real", save(), "--data", folder, "--n", 6, "--seed", 1, "--out", tmp_path / "r.html"
    )
    assert code == 0
    assert said["real"] == ["right" if one.real else "left" for one in asked]
    page = (tmp_path / "r.html").read_text()
    assert page == real_page(asked, "Which one is real?")
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
