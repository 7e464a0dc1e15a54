"""Digits in the playground in a browser: losses, pictures of weights and derivatives are those of Python."""

import contextlib
import io
import re
from collections import Counter
from typing import Any

import pytest
from torch.nn.functional import cross_entropy

from tests.report.test_browser import browser  # noqa: F401  (a fixture)
from tests.studio.test_browser import MINUS, cookies, served, until  # noqa: F401  (fixtures)
from tests.studio.test_play_browser import opened, shown, step  # noqa: F401  (a fixture)

pytestmark = pytest.mark.real


@pytest.mark.heavy
def test_digits_are_learned_with_the_numbers_of_python(opened: Any) -> None:  # noqa: F811
    tab = opened()
    tab.select_option("[data-set=problem]", "digits")
    tab.wait_for_selector(".play.pictures")
    assert tab.locator("[data-unit]").count() == 18  # 8 neurons and 10 outputs, no pixels
    assert tab.locator(".synapse").count() == 80
    for _ in range(3):
        step(tab, "#play-epoch-go")
    tab.click("#play-code summary")
    until(tab, "document.querySelector('#play-code pre').textContent.includes('epochs=3')")
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(tab.text_content("#play-code pre"), names)
    scores, target = names["model"](names["x"]), names["target"]
    for name, part in (("train", slice(0, 200)), ("test", slice(200, None))):
        loss = float(cross_entropy(scores[part], target[part]))
        assert shown(tab, name) == pytest.approx(loss, rel=1e-9)
        accuracy = float((scores[part].argmax(1) == target[part]).double().mean())
        assert f"({100 * accuracy:.1f} % right)" in tab.inner_text(f"#play-{name}")

    pairs = zip(target[200:].tolist(), scores[200:].argmax(1).tolist(), strict=True)
    wrong = Counter((true, read) for true, read in pairs if true != read)
    said = tab.inner_text("#play-wrong")
    assert said.startswith(f"Of 200 pictures for testing, {wrong.total()} are read wrongly, most often ")
    often = re.findall(r"(\d) as (\d) \((\d+)\)", said)
    assert [int(times) for _, _, times in often] == [times for _, times in wrong.most_common(3)]
    assert all(wrong[int(true), int(read)] == int(times) for true, read, times in often)
    assert said.endswith("The sheet shows the first 100.")

    # A neuron's picture has the colours of its weights: blue where they are positive.
    tab.wait_for_timeout(500)
    pixels = tab.evaluate("""[...document.querySelector('[data-unit="1:5"] canvas').getContext("2d")
        .getImageData(0, 0, 8, 8).data].filter((_, k) => k % 4 !== 1 && k % 4 !== 3)""")
    weights = names["model"].params["features"]["dense1"]["weight"][5]
    is_blue = [blue > red for red, blue in zip(pixels[::2], pixels[1::2], strict=True)]
    strong = weights.abs() > 0.05
    assert strong.sum() > 30
    assert [is_blue[k] for k in strong.nonzero().flatten()] == (weights[strong] > 0).tolist()

    # The fourth picture of the second row is asked about.
    width = tab.locator("#play-plane").bounding_box()["width"]
    tab.click("#play-plane", position={"x": 0.35 * width, "y": 0.15 * width})
    tab.wait_for_selector("#play-marks rect")
    probabilities = scores[213].softmax(0)
    read = f"This {int(target[213])} is read as {int(probabilities.argmax())}, with probability "
    until(tab, f"document.querySelector('#play-read').textContent.startsWith('{read}')")
    assert f"{100 * float(probabilities.max()):.1f} %" in tab.inner_text("#play-read")
    tab.click('[data-unit="1:2"]')
    tab.click("#play-unit [data-what] >> nth=30")
    until(tab, "document.querySelector('#play-why .check')?.dataset.numeric")
    gradient = float(tab.get_attribute("#play-why [data-gradient]", "data-gradient"))
    trace = names["model"].trace(names["x"][213:214], target[213:214])
    assert gradient == pytest.approx(trace.explain("features.dense1.weight[2, 30]").gradient, rel=1e-6)
    assert f"which is {int(target[213])}, for testing" in tab.inner_text("#subject")
    tab.click("#play-links a >> nth=0")  # the same network reads what is drawn
    until(tab, "document.querySelector('.view:not([hidden]) .check')?.dataset.numeric")


@pytest.mark.parametrize("width", [320, 390, 700])
def test_the_legend_does_not_run_into_its_text(width: int, opened: Any) -> None:  # noqa: F811
    tab = opened("problem=digits", viewport={"width": width, "height": 800})
    tab.wait_for_selector(".play.pictures")
    plus = tab.locator(".play .legend .scale i").last.bounding_box()
    text = tab.locator(".play .legend .of-pictures").bounding_box()
    assert plus["x"] + plus["width"] <= text["x"]
    assert text["x"] + text["width"] <= width


@pytest.mark.heavy
@pytest.mark.parametrize(("activation", "ends"), [("tanh", [f"{MINUS}1", "1"]), ("sigmoid", ["0", "1"])])
def test_draw_names_and_colours_the_outputs_of_hidden_neurons(
    activation: str,
    ends: list[str],
    opened: Any,  # noqa: F811
) -> None:
    tab = opened(f"problem=digits&hidden=6&activation={activation}&steps=40")
    until(tab, "document.querySelector('#play-epoch').dataset.value === '2'")
    tab.click("[data-what]")
    tab.click("#play-links a >> text=Open in Draw")
    tab.wait_for_selector(".netsvg .neuron")
    tab.click("[data-pass='4']")
    scale = tab.locator(".netsvg + .legend .scale").first
    assert scale.locator("i").all_inner_texts() == ends
    neurons = tab.eval_on_selector_all(
        "[data-card^='features.dense1:']",
        "all => all.map((one) => [one.ariaLabel.split(' = ')[1], one.querySelector('.body').getAttribute('fill')])",
    )
    values = {float(value.replace(MINUS, "-")): colour for value, colour in neurons}
    assert len({values[min(values)], values[max(values)]}) == 2
    assert "bias[" not in tab.inner_text("#why-h ~ *, .strongest")
    tab.reload()
    tab.wait_for_selector("#problem:not([hidden])")
    assert "train it again in the view Playground" in tab.inner_text("#problem")
