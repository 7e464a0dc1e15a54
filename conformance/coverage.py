"""The public classes and functions that no outside suite reaches, each with the independent check that it has."""

import inspect
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from conformance.case import Case
from conformance.tally import Row
from pellucid import combine, rules
from pellucid.combine import Combinator, Fork, Graph, Parallel, Sequential, Shared
from pellucid.layers import GRU, LAYERS, LSTM, RNN, Crop, Layer, LocalContrastNorm, RoIPool, SoftArgmax, Trait
from pellucid.losses import (
    LOSSES,
    AuxiliaryCrossEntropy,
    Coordinates,
    Dice,
    Focal,
    GIoU,
    HeatMaps,
    ProbabilityCrossEntropy,
    QualityFocal,
)
from pellucid.metrics import (
    METRICS,
    NME,
    PSNR,
    SSIM,
    AveragePrecision,
    BoundaryF1,
    Colours,
    DeltaE,
    KeypointAveragePrecision,
    MaskAveragePrecision,
    Reliability,
    calibration_error,
    functions,
    reliability,
)
from pellucid.optim import OPTIMIZERS, REGULARIZERS, SCHEDULES
from pellucid.rules import gradient


@dataclass(frozen=True)
class Entry:
    """A public class or function that no suite reaches; `checked_by` describes its independent check, "" if none."""

    name: str
    kind: str
    file: str
    checked_by: str

    def to_json(self) -> dict[str, str]:
        """Return the fields by name."""
        return asdict(self)


class Check(NamedTuple):
    """An independent check: its file under tests/, the name of the function in it, and its method in a few words."""

    file: str
    name: str
    method: str

    def __str__(self) -> str:
        """Return the three fields as readable text."""
        return f"{self.file} {self.name}: {self.method}"


_NETWORKS = "tests/references.py", "reference_forward"
_DIFFERENTIATED = "under PyTorch's automatic differentiation, on samples and on random networks"

_DENSE = ("tests/rules/test_dense.py", "test_a_rule_shares_as_its_formula_says")
_TABLE = ("tests/rules/test_table.py", "test_the_first_row_that_fits_gives_the_rule")
_ENTRANCE = ("tests/rules/test_entrance.py", "test_the_first_layers_with_weights_on_every_way_are_found")
_OUTPUTS = ("tests/rules/test_outputs.py", "test_the_output_that_is_told_makes_no_difference")
_OPERATORS = "tests/rules/test_operators.py"
_GIVEN = "tests/rules/test_given_weights.py"
_MODIFIED = Check(
    "tests/opening/test_relevance.py",
    "test_relevance_is_the_input_times_the_modified_gradient",
    "PyTorch modules whose gradients are modified, under automatic differentiation",
)
_ORIGINS = Check(
    _OPERATORS,
    "test_what_is_constant_in_a_product_is_found_in_the_forward_pass",
    "networks whose factors depend on the input or not",
)
_RELEVANCE = ("tests/explain/test_lrp.py", "test_relevance_is_that_of_explicit_matrices")
_STREAMING = ("tests/metrics/test_streaming.py", "test_batches_add_up_to_scikit_learn")
_CALIBRATION = ("tests/metrics/test_functions.py", "test_reliability_bins_are_those_of_scikit_learn")

# The check of an elementwise layer that no suite reaches.
_RECURRENT = "tests/layers/test_recurrent.py", "test_outputs_and_gradients_equal_pytorchs"
VALUE_BY_VALUE = Check(
    "tests/layers/test_contract.py",
    "test_forward_and_backward_equal_the_reference_and_its_autograd",
    "its function in tests/layers/elementwise.py, under PyTorch's automatic differentiation",
)
INDEPENDENT_CHECKS: dict[Any, Check] = {
    LocalContrastNorm: Check(
        "tests/references.py",
        "local_contrast_norm",
        "the whole window as one convolution over all channels, under PyTorch's automatic differentiation",
    ),
    RoIPool: Check("tests/references.py", "roi_pool", "the maximum of bin after bin, under automatic differentiation"),
    SoftArgmax: Check(
        "tests/references.py", "soft_argmax", "centres weighed by a softmax, under PyTorch's automatic differentiation"
    ),
    Crop: Check("tests/references.py", "crop", "narrow along each axis, under PyTorch's automatic differentiation"),
    GRU: Check(*_RECURRENT, "torch.nn.GRU with every option, under PyTorch's automatic differentiation"),
    RNN: Check(*_RECURRENT, "torch.nn.RNN with every option, under PyTorch's automatic differentiation"),
    LSTM: Check(*_RECURRENT, "torch.nn.LSTM with every option, under PyTorch's automatic differentiation"),
    Focal: Check(
        "tests/losses/cases.py", "focal", "the formula over the kept positions, under automatic differentiation"
    ),
    Dice: Check("tests/losses/cases.py", "dice", "class after class, under PyTorch's automatic differentiation"),
    QualityFocal: Check(
        "tests/losses/cases.py", "quality_focal", "the formula with PyTorch's cross-entropy, under its differentiation"
    ),
    ProbabilityCrossEntropy: Check(
        "tests/opening/torch_training/test_generated.py",
        "test_20_steps_equal_pytorch",
        "torch.nn.BCELoss in trainings of 20 steps",
    ),
    GIoU: Check(
        "tests/losses/cases.py", "giou", "areas of boxes by minima and maxima, under automatic differentiation"
    ),
    HeatMaps: Check(
        "tests/losses/keypoint_cases.py",
        "heat_maps",
        "point after point and cell after cell, under automatic differentiation",
    ),
    Coordinates: Check(
        "tests/losses/keypoint_cases.py",
        "coordinates",
        "PyTorch's l1_loss of the labelled points, under its differentiation",
    ),
    AuxiliaryCrossEntropy: Check(
        "tests/losses/test_auxiliary.py",
        "test_value_and_gradients_are_those_of_pytorch",
        "PyTorch's cross_entropy of every output, weighed and added, under its automatic differentiation",
    ),
    Sequential: Check(*_NETWORKS, f"children one after the other, {_DIFFERENTIATED}"),
    Parallel: Check(*_NETWORKS, f"every branch on the same input, then the merge, {_DIFFERENTIATED}"),
    Fork: Check(*_NETWORKS, f"every head on the same input, {_DIFFERENTIATED}"),
    Shared: Check(*_NETWORKS, f"one layer's parameters on each input, {_DIFFERENTIATED}"),
    Graph: Check(*_NETWORKS, f"every node on the named values before it, {_DIFFERENTIATED}"),
    **{
        metric: Check(*_STREAMING, "scikit-learn's metric of all batches at once, or its calibration_curve")
        for metric in (*METRICS.values(), functions.Bins)
    },
    **{
        metric: Check(
            "tests/metrics/test_objects.py",
            "test_average_precision_is_that_of_pycocotools",
            "pycocotools on drawn sets, batch by batch",
        )
        for metric in (AveragePrecision, KeypointAveragePrecision, MaskAveragePrecision)
    },
    NME: Check("tests/metrics/test_objects.py", "test_the_normalised_error_is_a_loop", "a loop over images and points"),
    PSNR: Check(
        "tests/metrics/test_images.py", "test_psnr_is_that_of_the_pooled_error", "scikit-image on all images at once"
    ),
    SSIM: Check(
        "tests/metrics/test_images.py", "test_ssim_agrees_with_scikit_image", "scikit-image's SSIM of each image"
    ),
    Colours: Check(
        "tests/metrics/test_colours.py", "test_colours_agree_with_scikit_image", "scikit-image and NumPy on all images"
    ),
    DeltaE: Check(
        "tests/metrics/test_colours.py",
        "test_delta_e_agrees_with_scikit_image",
        "scikit-image's CIEDE2000 of all pixels",
    ),
    BoundaryF1: Check("tests/metrics/test_segmentation.py", "boundary_f1", "a double loop over the pixels"),
    Reliability: Check(*_CALIBRATION, "accuracy and mean confidence of each bin by scikit-learn"),
    reliability: Check(*_CALIBRATION, "accuracy and mean confidence of each bin by scikit-learn"),
    calibration_error: Check(
        "tests/metrics/test_functions.py", "test_calibration_error", "a loop over the examples and bins"
    ),
    rules.Zero: Check(*_DENSE, "every layer as an explicit matrix in float64, every rule as loops over it"),
    rules.Share: Check(
        "tests/rules/test_without_weights.py",
        "test_a_product_shares_evenly_and_a_gate_takes_the_sum_over_what_it_scaled",
        "two products whose relevance is divided by hand",
    ),
    rules.own: Check(
        "tests/rules/test_without_weights.py",
        "test_own_is_the_gradient_without_the_parameters",
        "dx of the layer's own backward pass, which other suites check",
    ),
    rules.Table: Check(*_TABLE, "rows by type, path and predicate, looked up by hand"),
    rules.composite: Check(*_TABLE, "rows by type, path and predicate, looked up by hand"),
    rules.Entrance: Check(*_ENTRANCE, "networks whose first layers with weights are named by hand"),
    rules.OutputRule: Check(*_OUTPUTS, "the same rule that runs the layer again"),
    rules.Outputs: Check(*_OUTPUTS, "the same rule that runs the layer again"),
    rules.Attend: Check(
        _OPERATORS, "test_attention_shares_as_its_parts_do", "its factors times their gradients, by autograd"
    ),
    rules.Taylor: Check(_OPERATORS, "test_softmax_is_linearized_at_its_input", "the formula, value by value"),
    rules.FixedScale: Check(
        _OPERATORS, "test_norms_share_with_a_constant_scale", "norms with a constant divisor, by autograd"
    ),
    rules.Product: Check(
        _OPERATORS,
        "test_a_product_of_matrices_shares_by_contributions",
        "its factors times their gradients, by autograd",
    ),
    rules.Rescale: Check(
        "tests/explain/test_deeplift.py", "test_captum_gives_the_same_map", "Captum's maps, and max pooling by loops"
    ),
    rules.First: Check(_GIVEN, "test_the_first_input_takes_all_relevance", "the relevance as it was"),
    rules.AsWeighted: Check(
        _GIVEN, "test_a_convolution_with_given_weights_shares_as_one_with_its_own", "the same rule on Conv2d"
    ),
    **dict.fromkeys((rules.Origin, rules.Origins, rules.Use, rules.UseRule), _ORIGINS),
    **dict.fromkeys((rules.attn_lrp, rules.cp_lrp), _MODIFIED),
    rules.fold: Check(
        "tests/rules/test_fold.py",
        "test_normalization_behind_weights_goes_and_the_outputs_stay",
        "the outputs of the network as it was, in float64",
    ),
    rules.relevance: Check(*_RELEVANCE, "every layer as an explicit matrix in float64, layer after layer"),
    rules.epsilon_everywhere: Check(*_RELEVANCE, "every layer as an explicit matrix in float64, layer after layer"),
    gradient: Check(
        "tests/test_sweep.py",
        "test_the_backward_watch_sees_each_layer_when_it_is_done",
        "dx and a weight's gradient of a network with a skip, swept by it, against PyTorch's automatic differentiation",
    ),
}


def public_parts() -> list[tuple[Any, str]]:
    """Return every public layer, combinator, loss, optimizer, schedule, regularizer, rule and metric with its kind."""
    combinators = [
        part for part in _members(combine, combine.__all__) if inspect.isclass(part) and issubclass(part, Combinator)
    ]
    by_kind: dict[str, Iterable[Any]] = {
        "layer": LAYERS,
        "combinator": [part for part in combinators if part is not Combinator],
        "loss": LOSSES.values(),
        "optimizer": OPTIMIZERS.values(),
        "schedule": SCHEDULES.values(),
        "regularizer": REGULARIZERS.values(),
        "rule": _members(rules, rules.__all__),
        "metric": [
            *(part for part in _members(functions, vars(functions)) if part.__module__ == functions.__name__),
            *METRICS.values(),
        ],
    }
    return [(part, kind) for kind, parts in by_kind.items() for part in parts]


def reached_subjects(cases: Iterable[Case]) -> set[Any]:
    """Return the subjects that pass at least one case; the remaining cases of such a subject are not run."""
    reached: set[Any] = set()
    for case in cases:
        if case.subject not in reached and Row(case.suite, case.version, case.file, case.subject).add(case):
            reached.add(case.subject)
    return reached


def coverage(reached: Collection[Any]) -> list[Entry]:
    """Return an entry for every public part that is not `reached`, and one for every stale key of INDEPENDENT_CHECKS.

    A key is stale if a suite reaches it or if it is no longer public. Its entry counts as unchecked.
    """
    parts = public_parts()
    known_parts = [part for part, _ in parts]
    entries = [Entry(part.__name__, kind, _file(part), _check(part)) for part, kind in parts if part not in reached]
    for part in INDEPENDENT_CHECKS:
        stale_reason = (
            "a suite reaches it" if part in reached else "no public part of ours" if part not in known_parts else ""
        )
        if stale_reason:
            entries.append(
                Entry(f"{part.__name__} ({stale_reason}: take it out of INDEPENDENT_CHECKS)", "stale", _file(part), "")
            )
    return entries


def _check(part: Any) -> str:
    elementwise = inspect.isclass(part) and issubclass(part, Layer) and Trait.ELEMENTWISE in part.traits
    return str(INDEPENDENT_CHECKS.get(part, VALUE_BY_VALUE if elementwise else ""))


def _members(module: Any, names: Iterable[str]) -> list[Any]:
    """Return the classes and functions of a module among `names`."""
    members = [getattr(module, name) for name in names if not name.startswith("_")]
    return [part for part in members if inspect.isclass(part) or inspect.isfunction(part)]


def _file(part: Any) -> str:
    return part.__module__.replace(".", "/") + ".py"
