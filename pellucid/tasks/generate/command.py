"""`pellucid generate`: draw images with a generator."""

import argparse
from pathlib import Path

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check
from pellucid.base.text import plural
from pellucid.command.args import Parser
from pellucid.command.models import open_model
from pellucid.command.out import print_result

MAX_IMAGES = 10_000


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser("generate", "Draw new images with a generator, and write them as a grid into one PNG file.")
    parser.model_argument()
    parser.add_argument(
        "--n", type=int, default=64, metavar="N", help=f"number of images, at most {MAX_IMAGES:,} (default: 64)"
    )
    parser.add_argument("--out", metavar="FILE", default="samples.png", help="PNG file to write (default: samples.png)")
    return parser.seed_option("seed of the latent vectors").device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Write the images, and print the name of the file."""
    from pellucid.tasks.generate.measure import is_generator, sample, write_samples

    check(1 <= args.n <= MAX_IMAGES, "--n", f"from 1 to {MAX_IMAGES:,}", args.n)
    model = open_model(args.model, args.device)
    if not is_generator(model):
        raise PellucidError(f"{args.model} is not a generator; give a model trained with a recipe such as mnist-dcgan")
    images = sample(model, args.n, args.seed)
    path = write_samples(Path(args.out), images)
    print_result(
        args,
        {"model": args.model, "n": args.n, "seed": args.seed, "shape": list(images.shape[1:]), "file": str(path)},
        f"wrote {plural(args.n, 'image')} to {path}",
    )
    return 0
