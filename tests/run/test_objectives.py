"""Weights files with objectives: limits on the memory of their networks, and valid hyperparameters."""

import copy
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from PIL import Image

from pellucid import Model
from pellucid.base.errors import PellucidError
from pellucid.network.bounds import init_objective_within_bounds
from pellucid.run.weights import read_weights, write_weights
from tests.detectors.drawn import small_single_stage
from tests.detectors.test_hyperparameters import SMALL_DETECTORS
from tests.detectors.two_stages import small_faster
from tests.generators.small import SHAPE, gan


@pytest.fixture
def detector_file(tmp_path):
    path = tmp_path / "detector.safetensors"
    Model(small_single_stage(), input_shape=(3, 48, 64), preprocess={"size": 64}).save(path)
    return path


@pytest.fixture
def faster_file(tmp_path):
    path = tmp_path / "faster.safetensors"
    Model(small_faster(), input_shape=(3, 48, 64), preprocess={"size": 64}).save(path)
    return path


@pytest.fixture
def generator_file(tmp_path):
    path = tmp_path / "gan.safetensors"
    Model(gan(), input_shape=SHAPE).save(path)
    return path


def write_forged(path, change):
    """Write a copy of a weights file with a changed description and a matching SHA-256; return its path."""
    tensors, about = read_weights(path)
    about = copy.deepcopy(about)
    change(about)
    forged_file = path.with_name("forged.safetensors")
    write_weights(forged_file, tensors, about)
    return forged_file


def check_refused(path, change, match):
    forged_file, start_time = write_forged(path, change), time.process_time()
    with pytest.raises(PellucidError, match=match) as info:
        Model.load(forged_file)
    assert str(info.value).startswith(str(forged_file))
    assert "\n" not in str(info.value)
    assert time.process_time() - start_time < 10


def stage0_conv(about):
    return about["objective"]["backbone"]["nodes"]["stage0"][0]["children"]["conv"]


def test_a_padding_of_4000_in_a_detector_is_refused(detector_file):
    def pad(about):
        stage0_conv(about)["padding"] = 4000

    check_refused(detector_file, pad, r"backbone\.stage0\.(conv|relu): takes the network to .* for one input, above")


def test_a_scale_that_does_not_fit_the_finest_map_is_refused(faster_file):
    check_refused(
        faster_file,
        lambda about: about["objective"]["align"].update(scale=1e4),
        r"FasterRCNN: align: scale 10000 does not fit maps of 12x16 for images of 48x64; give 1 / stride of the finest",
    )


def test_an_align_layer_that_pools_no_regions_is_refused(faster_file):
    def replace_align(about):
        about["objective"]["align"] = {"type": "ReLU"}

    check_refused(faster_file, replace_align, r"FasterRCNN: align must be RoIAlign or RoIPool, not ReLU")


def test_a_preprocessing_size_of_8000_is_refused(detector_file):
    check_refused(
        detector_file,
        lambda about: about["preprocess"].update(size=8000),
        r"preprocess: size 8000 is 64,000,000 pixels, above",
    )
    check_refused(
        detector_file,
        lambda about: about["preprocess"].update(size=[8000, 9000]),
        r"size \[8000, 9000\] is 72,000,000 pixels, above",
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [("score_threshold", 5), ("nms_threshold", -1), ("scale", 0.0), ("classes", 0), ("strides", [0, 8])],
)
def test_invalid_hyperparameters_of_a_detector_are_refused_with_their_values(detector_file, field, value):
    shown = str(value).strip("[]")
    check_refused(
        detector_file, lambda about: about["objective"].update({field: value}), rf"SingleStage: {field} .*{shown}"
    )


def test_a_kernel_of_30000_and_invalid_latent_sizes_of_a_generator_are_refused(generator_file):
    def enlarge(about):
        layer = next(
            child for child in about["objective"]["generator"]["children"].values() if child.get("stride") == 1
        )
        layer["kernel"] = 30_000

    check_refused(
        generator_file, enlarge, r"generator\.up1: takes the network to .* bytes of memory for one input, above"
    )
    check_refused(generator_file, lambda about: about["objective"].update(latent=0), r"GAN: latent .* not 0")
    bytes_of_latents = f"{4 * (2**31 - 1):,}"  # float32
    check_refused(
        generator_file,
        lambda about: about["objective"].update(latent=2**31 - 1),
        rf"generator\.Sequential: takes the network to {bytes_of_latents} bytes of memory for one input, above "
        r"536,870,912; .* \(its input is \(2147483647,\)\)$",
    )


def test_memory_of_the_head_is_counted_once_per_region():
    faster = small_faster()
    head = faster.head
    assert faster.inputs_of("head", (3, 48, 64)) == (20, 20)
    assert faster.inputs_of("rpn", (3, 48, 64)) == (1, 1)
    assert SMALL_DETECTORS["fast"]().inputs_of("head", (3, 480, 640)) == (512, 30 * 40 * 15)
    init_objective_within_bounds(faster, (3, 48, 64))
    wide_head = type(faster)(
        **{name: getattr(faster, name) for name in ("classes", "backbone", "neck", "rpn", "align", "strides")},
        head=type(head)(flat=head.layers["flat"], dense=type(head.layers["dense"])(500_000), out=head.layers["out"]),
        proposals=1000,
    )  # 1,000 regions of 500,000 units need 2 GB
    with pytest.raises(PellucidError, match=r"head\.dense: takes the network to .* bytes of memory"):
        init_objective_within_bounds(wide_head, (3, 48, 64))


def test_memory_of_align_samples_is_counted_once_per_region():
    faster = small_faster()
    many_samples = replace(
        faster, align=replace(faster.align, sampling=400)
    )  # 20 regions, 25 bins each, 160,000 samples per bin
    with pytest.raises(PellucidError, match=r"align.*: takes the network to .* bytes of memory"):
        init_objective_within_bounds(many_samples, (3, 48, 64))


@pytest.mark.parametrize("name", SMALL_DETECTORS)
def test_every_detector_is_restored_from_its_file(name, tmp_path):
    path = tmp_path / "model.safetensors"
    model = Model(SMALL_DETECTORS[name](), input_shape=(3, 48, 64), preprocess={"size": 64})
    model.save(path)
    loaded = Model.load(path)
    assert loaded.objective == model.objective
    assert loaded.sha256() == model.sha256()
    assert loaded.output_shape == model.output_shape


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_the_command_refuses_a_forged_detector_in_little_memory(detector_file, tmp_path):
    Image.new("RGB", (60, 40), (200, 30, 30)).save(tmp_path / "picture.png")

    def pad(about):
        stage0_conv(about)["padding"] = 4000

    code = (
        "import re, sys; from pathlib import Path; from pellucid.cli.main import main; code = main(sys.argv[1:]);"
        "print(int(re.search(r'VmHWM:\\s*(\\d+)', Path('/proc/self/status').read_text())[1]) >> 10); sys.exit(code)"
    )
    arguments = ["detect", str(write_forged(detector_file, pad)), str(tmp_path / "picture.png")]
    process = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1
    assert int(process.stdout.split()[-1]) < 1024


@pytest.mark.slow
def test_the_published_detectors_are_within_the_limits():
    torch.manual_seed(0)
    from pellucid.detectors import DETECTORS

    for build in DETECTORS.values():
        init_objective_within_bounds(build(), (3, 1024, 1024))
