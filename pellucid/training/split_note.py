"""The line of `fit` about differences between the training and the validation data."""

from pellucid.base.text import note
from pellucid.data.augment.standardise import scaled
from pellucid.data.source import Arrays, Source
from pellucid.task.split_differences import CLASSES, KINDS, VALUES, split_differences
from pellucid.task.traits import received_traits, target_traits
from pellucid.training.distributed import processes
from pellucid.training.predicting import Predicting
from pellucid.training.reading import read_examples

MAX_IN_MEMORY, MAX_READ = 500, 64  # examples of each part that are compared: of arrays, and of other sources
MAX_STATED = 3  # differences in the line


def note_split_differences(model: Predicting, data: Source, held_out: Source | None) -> None:
    """Write one line to stderr if values, classes or shares of empty targets differ by more than chance.

    held_out: None for no line. Of several processes, the first writes it.
    """
    if held_out is None or not processes().is_first:
        return
    limits = (MAX_IN_MEMORY if isinstance(part, Arrays) else MAX_READ for part in (data, held_out))
    examples_by_part = [
        read_examples(part, limit, model.seed) for part, limit in zip((data, held_out), limits, strict=True)
    ]
    all_examples = [*examples_by_part[0], *examples_by_part[1]]
    of_targets = target_traits(model, all_examples)
    inputs = [scaled(example.images, model.stats)[0] for example in all_examples]
    of_inputs = received_traits([(float(x.min()), float(x.max())) for x in inputs], [x.shape for x in inputs])
    names_and_counts = ("training", len(examples_by_part[0])), ("held-out", len(examples_by_part[1]))
    differences = split_differences({**of_inputs, **of_targets}, names_and_counts, [*of_targets])
    stated = [str(difference) for difference in differences if difference.kind in (VALUES, CLASSES, KINDS)]
    if stated:
        more = f"; and {len(stated) - MAX_STATED} more" if len(stated) > MAX_STATED else ""
        note(f"training and held-out data differ: {'; '.join(stated[:MAX_STATED])}{more}; see pellucid.data_page")
