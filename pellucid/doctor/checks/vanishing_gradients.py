"""Early layers to which almost nothing of the gradient comes."""

from pellucid.doctor.case import Case
from pellucid.doctor.changed import as_he, with_layers
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.measure.backward import flow
from pellucid.doctor.measure.depth import Depth, depth
from pellucid.layers import ReLU, Sigmoid, Tanh
from pellucid.layers.base import Layer

# Well drawn weights hand the gradient's norm on whole (see `depth`), a layer of sigmoids a fourth of it at best.
# Nielsen 2015, chapter 5, calls it vanishing when the first layer learns 100 times more slowly than the last.
LITTLE = 1 / 100


def look(case: Case) -> list[Finding]:
    """Compare the gradient's norm at early and at late layers, at the present weights and at the first ones.

    A last layer that begins at 0 lets nothing through in the first step alone, which does no harm; so the first weights
    count where those after a few steps agree, and the training that followed had to get over that first.
    """
    first = depth(case.first, case.first_flow, case.first_activity)
    weak = first is not None and first.share < LITTLE
    now = depth(case.model, case.flow, case.activity) if case.trained else None
    if now is None or now.share >= LITTLE:
        early = _rehearsed(case) if weak and case.trainable else None
        if early is None or early.share >= LITTLE:
            return []
        now = now or early
    evidence = {
        "early_layer": now.early_path,
        "late_layer": now.late_path,
        "early_gradient": now.early,
        "late_gradient": now.late,
        "early_over_late_gradient": now.share,
    }
    if first is not None:
        evidence["early_over_late_before_the_first_step"] = first.share
    if weak:
        cause = "each layer on the way back makes the gradient smaller: flat activations, or weights drawn too small"
        fix = "take ReLU with weights as He 2015, batch normalization, or fewer layers"
        return [Finding(NAME, now.early_path, evidence, cause, fix, Remedy("ReLU and weights as He 2015", _relu))]
    return [Finding(NAME, now.early_path, evidence)]


def _rehearsed(case: Case) -> Depth | None:
    done = case.rehearsal
    if done.broke:
        return None
    return depth(done.model, flow(done.model, case.inputs(case.probe), case.probe.y), case.first_activity)


def _relu(case: Case) -> Case:
    def change(layer: Layer) -> Layer:
        return ReLU() if isinstance(layer, Sigmoid | Tanh) else as_he(layer)

    return with_layers(case, change)


NAME = "vanishing-gradients"
CHECK = Check(
    NAME,
    "Early layers receive almost nothing of the gradient that the last ones receive.",
    look,
)
