"""`pellucid find-lr`: find a good learning rate by a short training with increasing learning rates."""

import argparse

from pellucid.base.files import write_atomically
from pellucid.command.args import Parser
from pellucid.command.files import check_output_path
from pellucid.command.out import print_result

PLOT_SUFFIXES = (".png", ".svg")


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "find-lr",
        "Train for some steps with a learning rate that rises from step to step, and say at which rate the loss falls "
        "fastest. Nothing is kept but the plot.",
    )
    parser.add_argument("recipe", metavar="RECIPE|TASK", help="as for `pellucid train`")
    parser.add_argument("settings", nargs="*", metavar="DATA|key=value", help="as for `pellucid train`")
    parser.add_argument("--steps", type=int, metavar="N", help="number of steps (default: 100)")
    parser.add_argument("--out", metavar="FILE", help="draw the loss by learning rate into a .png or .svg file")
    return parser.data_option().device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the losses by learning rate with a suggestion, and write the plot."""
    from pellucid.recipe.build import build_model
    from pellucid.recipe.job import augmentation, load_data
    from pellucid.recipe.own import recipe_of_words
    from pellucid.training.process import torch_threads
    from pellucid.training.range_test import DEFAULT_STEPS

    path = None if args.out is None else check_output_path(args.out, "--out", PLOT_SUFFIXES)
    recipe, _ = recipe_of_words(args.recipe, args.settings, args.device, args.data)
    data = load_data(recipe, args.data)
    model = build_model(recipe, data.train, args.data)
    with torch_threads(recipe.recipe.fixed_threads):  # of the table [recipe]
        lr_range = model.find_lr(
            data.train,
            batch_size=min(recipe.train.batch_size, len(data.train)),
            augment=augmentation(recipe, data),
            steps=DEFAULT_STEPS if args.steps is None else args.steps,
        )
    if path is not None:
        from pellucid.report.figures.style import figure_file

        write_atomically(path, figure_file(lr_range.plot(), path.suffix), durable=False)
    print_result(
        args,
        {"recipe": recipe.name, "lr": model.optimizer.lr, **lr_range.to_json(), "plot": args.out},
        f"{recipe.name}: {lr_range}",
        f"the recipe has {model.optimizer.lr:g}; try optimizer.lr={lr_range.suggestion:.2g}",
        *([] if path is None else [f"wrote {path}"]),
    )
    return 0
