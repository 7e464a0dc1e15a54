"""The checks of the doctor, one per file, in an order in which causes come before their consequences."""

from pellucid.doctor.checks import (
    batch_norm,
    class_imbalance,
    confused_labels,
    constant_inputs,
    constant_targets,
    cut_gradient,
    dropout_at_inference,
    duplicated_inputs,
    label_noise,
    leakage,
    mask_classes,
    mixed_examples,
    nan_origin,
    outputs_without_loss,
    overfitting,
    preprocessing_mismatch,
    replaced_weights,
    shifted_labels,
    shortcut_pixels,
    shuffled_labels,
    softmax_axis,
    softmax_twice,
    symmetric_init,
    underfitting,
    unnormalised_inputs,
    unpaired_targets,
    untrained_frozen,
    wrong_gradient,
    wrong_output,
)
from pellucid.doctor.finding import Check

CHECKS: tuple[Check, ...] = tuple(
    module.CHECK for module in (
        # of the data
        constant_inputs, constant_targets, preprocessing_mismatch, duplicated_inputs, shortcut_pixels,
        leakage, unpaired_targets, shuffled_labels, shifted_labels, confused_labels, label_noise, unnormalised_inputs,
        class_imbalance, mask_classes,
        # of the network
        wrong_output, softmax_twice, mixed_examples, wrong_gradient, outputs_without_loss, softmax_axis, cut_gradient,
        symmetric_init, dropout_at_inference,
        # of the training
        nan_origin, batch_norm, replaced_weights, untrained_frozen,
        # of its result
        underfitting, overfitting,
    )
)  # fmt: skip
