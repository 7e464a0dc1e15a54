"""Traces and explanations as text, HTML, LaTeX and JSON."""

import math
import re
from html.parser import HTMLParser
from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid.combine import Sequential
from pellucid.layers import Dense
from pellucid.losses import Quadratic
from pellucid.model import Model
from pellucid.optim.regularizers import L2
from pellucid.trace import Trace, trace
from pellucid.trace.explanation import Explanation, Factor, Link, ProductTerm, parts_text


class TagChecker(HTMLParser):
    """Parses a page and stores its text; AssertionError if tags are not closed or external files are loaded."""

    VOID = ("img", "br", "meta")

    def __init__(self) -> None:
        super().__init__()
        self.open_tags: list[str] = []
        self.text = ""
        self.images = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "script"
        self.images += tag == "img"
        for name, value in attrs:
            assert not (name in ("src", "href") and not str(value).startswith("data:")), "it loads nothing"
        if tag not in self.VOID:
            self.open_tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += "" if self.open_tags[-1:] == ["style"] else data


def parse_page(html: str) -> TagChecker:
    page = TagChecker()
    page.feed(html)
    assert not page.open_tags
    return page


@pytest.fixture(scope="module")
def traced(lenet: Model, digits: Tensor) -> Trace:
    return trace(lenet, digits[:1], torch.tensor([2]))


def test_the_text_has_each_link_of_the_chain_with_its_values(traced: Trace) -> None:
    explanation = traced.explain("head.scores.weight[3, 17]")
    lines = str(explanation).splitlines()
    activation, delta = float(traced["head.relu2.y"][0, 17]), float(traced["head.scores.dy"][0, 3])
    assert lines[0] == f"∂C/∂head.scores.weight[3, 17] = {explanation.gradient:.6g}".replace("-", "\u2212")
    assert any(f"= {delta:.6g} \u00d7 {activation:.6g}".replace("-", "\u2212") in line for line in lines)
    assert "(BP4)" in str(explanation)
    assert "→ 2" in str(explanation)
    assert "where a - t" in str(explanation)
    assert "last bit" in lines[-1]
    assert max(map(len, lines)) <= 120


def test_the_table_of_a_trace_has_a_row_for_each_layer(traced: Trace) -> None:
    text = str(traced)
    for name in ("features.conv1", "features.relu1", "features.pool2", "head.flatten", "head.scores"):
        assert re.search(rf"^{re.escape(name)} ", text, re.MULTILINE)
    assert "Conv2d(6, 5, padding=2)" in text
    assert "dweight" in text
    assert repr(traced).startswith("<Trace of 12 layers in evaluation mode, ")


def test_html_is_one_element_and_loads_no_external_files(traced: Trace) -> None:
    page = parse_page(traced._repr_html_())
    assert page.images >= 20
    assert "features.conv2" in page.text
    explanation = traced.explain("features.conv2.weight")
    page = parse_page(explanation._repr_html_())
    for link in explanation.links:
        assert link.name in page.text
    assert "94 more" in page.text
    activation = (
        parse_page(traced.explain("features.relu2.y")._repr_html_()).text
        + parse_page(traced.explain("features.conv2.y")._repr_html_()).text
    )
    assert "slope of" in activation
    assert "144 more" in activation
    change = traced.nudge("features.conv2.weight", 0.1)
    assert f"{change.after:.6g}" in parse_page(change._repr_html_()).text
    assert len(traced._repr_html_()) < 80_000


def test_names_are_escaped_in_html() -> None:
    model = Model(Sequential(**{"<b>&": Dense(2)}), input_shape=(3,), classes=2)
    record = trace(model, torch.rand(1, 3), torch.tensor([0]))
    assert "<b>&" in parse_page(record._repr_html_()).text
    assert "<b>&.weight" in parse_page(record.explain("<b>&.weight[0, 1]")._repr_html_()).text


def test_latex_is_balanced_and_has_the_same_values(traced: Trace) -> None:
    explanation = traced.explain("features.conv2.weight[0, 2, 2, 1]")
    text = explanation.latex()
    assert text.startswith("\\begin{aligned}")
    assert text.endswith("\\end{aligned}")
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    assert text.count(r"\\" + "\n") == len(explanation.links) - 1
    assert text.count("&=") == len(explanation.links)
    first = text.splitlines()[1]
    values = [float(result) for result in re.findall(r"\\underbrace\{\(?(-?[\d.]+)\)?\}", first)]
    products = sum(values[k] * values[k + 1] for k in (0, 2, 4)) + values[6]
    assert products == pytest.approx(explanation.gradient, rel=1e-4), "three products of two, and the rest"
    assert text.isascii()


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("1 - y²", r"1 - y$^2$"),
        ("d^(beta+1)", r"d$\wedge$(beta+1)"),
        ("-x̂ᵢ x̂ₒ/m", r"-$\hat{x}$$_i$ $\hat{x}$$_o$/m"),
        ("a_b {c} 5% $&#", r"a\_b \{c\} 5\% \$\&\#"),
        ("\\conv~1", r"$\backslash$conv$\sim$1"),
    ],
)
def test_special_characters_of_names_are_escaped_in_latex(name: str, written: str) -> None:
    link = Link(name, "net", "", "", "", 2.0, (ProductTerm((Factor(name, 2.0, "slope"),), 2.0),), 1, 0.0, 2.0, 0.0)
    text = Explanation(name, 1.0, 0.0, "float64", (link,)).latex()
    assert rf"\frac{{\partial C}}{{\partial \text{{{written}}}}}" in text
    assert rf"\underbrace{{2}}_{{\text{{{written}}}}}" in text


def test_json_names_every_tensor(traced: Trace) -> None:
    values = traced.to_json()
    assert values["loss"] == traced.loss
    assert [tensor["name"] for tensor in values["tensors"]] == list(traced.names())
    assert [call["name"] for call in values["calls"]] == [call.name for call in traced.calls]
    assert values["calls"][3]["parameters"] == {"features.conv2.weight": [16, 6, 5, 5], "features.conv2.bias": [16]}
    assert sum(output["dy"] for output in values["examples"][0]) == pytest.approx(0, abs=1e-12), (
        "a softmax takes as it gives"
    )


def test_differences_are_reported_with_the_digits_that_they_need() -> None:
    parts = (Factor("a", 1 - 2.5e-9, "probability"), Factor("-t", -1.0, "target"))
    assert parts_text(Factor("a - t", -2.5e-9, "error", parts)) == "0.9999999975 \u2212 1"
    assert parts_text(Factor("a - t", -0.25, "error", (Factor("a", 0.75, "probability"), parts[1]))) == "0.75 \u2212 1"


def small_model(**options: Any) -> tuple[Model, Tensor, Tensor]:
    """Return a model of two layers with weights set by hand, an input (1, 2) and a target (1, 2)."""
    model = Model(Sequential(a=Dense(2), b=Dense(2)), Quadratic(), input_shape=(2,), metrics=(), **options)
    weights = {"a.weight": [[1.0, -2.0], [3.0, 0.5]], "a.bias": [0.0, 0.0], "b.weight": [[1.0, 2.0], [-1.0, 1.0]],
             "b.bias": [0.0, 0.0]}  # fmt: skip
    for name, value in weights.items():
        model.weights[name].copy_(torch.tensor(value))
    return model, torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0]])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["a.weight[0,0]", "b.weight[1, 0]", "x[0, 0]", "a.y[0, 1]", "y[0, 0]"])
def test_values_that_are_not_finite_are_shown(value: float, name: str) -> None:
    model, x, target = small_model()
    model.weights["a.weight"][0, 1] = value
    record = trace(model, x, target)
    explanation = record.explain(name)
    assert "nan" in str(explanation) or "inf" in str(explanation)
    assert "NaN or infinite" in str(explanation).splitlines()[-1]
    assert "nan" in parse_page(explanation._repr_html_()).text or "inf" in parse_page(explanation._repr_html_()).text
    assert "width:nan" not in explanation._repr_html_()
    assert r"\text{nan}" in explanation.latex() or r"\infty" in explanation.latex()
    assert "nan" in str(record) or "inf" in str(record)
    assert "outputs" in str(record)
    parse_page(record._repr_html_())
    parse_page(record.nudge(name)._repr_html_())
    str(record.nudge(name))


def test_the_data_loss_of_a_regularized_weight_has_the_symbol_l() -> None:
    """With λ/n = 0.1, ∂C/∂w = ∂L/∂w + 0.1 w, and ∂L/∂w = Wbᵀ(y - t) xᵀ, by hand."""
    model, x, target = small_model(regularizer=L2(0.1))
    explanation = trace(model, x, target).explain("a.weight[1, 0]")
    # a = (-3, 4), y = (5, 7), y - t = (4, 7), Wbᵀ(y - t) = (-3, 15)
    assert [(link.of, link.gradient) for link in explanation.links[:2]] == [("C", pytest.approx(15.3)), ("L", 15.0)]
    lines = str(explanation).splitlines()
    assert lines[0] == "∂C/∂a.weight[1, 0] = 15.3"
    assert " 1   ∂C/∂a.weight[1, 0] = 15.3" in lines
    assert " 2   ∂L/∂a.weight[1, 0] = 15" in lines
    assert "the loss of the data, L, and a regularizer" in str(explanation)
    first, second = explanation.latex().splitlines()[1:3]
    assert r"\frac{\partial C}{\partial \text{a.weight" in first
    assert r"\frac{\partial L}{\partial \text{a.weight" in second
    links = explanation.to_json()["links"]
    assert [link["derivative_of"] for link in links] == ["C", "L"] + ["C"] * (len(links) - 2)
    assert links[1]["formula"].startswith(r"\frac{\partial L}{\partial w")
    assert "∂L∂ a.weight[1, 0]" in parse_page(explanation._repr_html_()).text
    bias = trace(model, x, target).explain("a.bias[1]")
    assert "∂L" not in str(bias), "no regularizer acts on it"


def test_negative_numbers_in_latex_are_in_parentheses() -> None:
    terms = tuple(ProductTerm((Factor("w", value, "delta"),), value) for value in (2.0, -1.0, 0.5))
    text = Explanation("w", 1.0, 0.0, "float64", (Link("w", "", "", "", "", 1.0, terms, 5, -0.5, 1.0, 0.0),)).latex()
    assert re.findall(r"underbrace\{(.*?)\}", text) == ["2", "(-1)", "0.5", "(-0.5)"]


def test_the_mode_of_the_passes_is_named_and_explain_says_what_it_takes() -> None:
    model = Model(Dense(2), input_shape=(3,))
    evaluated, trained = (model.trace(torch.rand(2, 3), [0, 1], train=train) for train in (False, True))
    assert repr(evaluated).startswith("<Trace of 1 layer in evaluation mode, ")
    assert repr(trained).startswith("<Trace of 1 layer in training mode, ")
    assert str(trained).startswith("2 examples in training mode: loss")
    with pytest.raises(TypeError, match=r"missing a required argument: 'what'; .*give the name of a tensor.*names\(\)"):
        trained.explain()  # type: ignore[call-arg]
