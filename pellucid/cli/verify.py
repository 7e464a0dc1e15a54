"""`pellucid verify`: compare every gradient of a network with independently computed derivatives."""

import argparse

from pellucid.base.errors import PellucidError
from pellucid.base.text import note
from pellucid.command.args import Parser
from pellucid.command.out import print_result
from pellucid.shipped_files import MODEL_HELP

MAX_BATCH = 64
MAX_SAMPLES = 1000


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "verify",
        "Compare each gradient with independently computed derivatives, and compare the fused forms of the network.",
    )
    parser.add_argument("what", metavar="MODEL|RECIPE", help=f"{MODEL_HELP}, or a recipe")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="changes to the recipe")
    parser.add_argument("--batch", type=int, default=4, metavar="N", help="number of random images (default: 4)")
    parser.add_argument(
        "--samples", type=int, default=8, metavar="N", help="number of entries of each tensor to check (default: 8)"
    )
    return parser.data_option().device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the table; return 1 if a gradient is wrong."""
    import torch

    from pellucid.cli.nets import open_net
    from pellucid.extend.registry import is_ours
    from pellucid.extend.user_defined import try_loss
    from pellucid.losses.base import Loss
    from pellucid.nested import flatten
    from pellucid.training.device import on_device, usable_device
    from pellucid.verify import verify

    if not 1 <= args.batch <= MAX_BATCH:
        raise PellucidError(f"--batch is {args.batch}; give 1 to {MAX_BATCH} images")
    if not 2 <= args.samples <= MAX_SAMPLES:
        raise PellucidError(f"--samples is {args.samples}; give 2 to {MAX_SAMPLES} entries")
    device = usable_device(args.device or "cpu")
    network = open_net(args.what, args.settings, args.data)
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(args.batch, *network.input_shape, generator=rng)
    output_shape = network.output_shape
    target = network.loss.draw(args.batch, output_shape, network.input_shape, rng)
    if target is None:
        raise PellucidError(
            f"{args.what} has several outputs, {output_shape}, and no loss over all of them; use Model.verify in Python"
        )
    if not is_ours(network.loss) and type(network.loss).draw is Loss.draw:
        try:
            try_loss(network.loss, torch.zeros(args.batch, *output_shape), target)
        except PellucidError:  # the targets are not class indices, so draw targets of the output's shape
            target = torch.rand(args.batch, *output_shape, generator=rng)
    note(
        f"comparing the gradients of {len(flatten(network.params))} tensors, {args.samples} entries of each, with two "
        "independent values"
    )
    params, x, target = on_device((network.params, x, target), device)
    table = verify(network.net, params, x, target, network.loss, samples=args.samples, training=network.training)
    print_result(args, {"what": args.what, **table.to_json()}, *str(table).split("\n"))
    return 0 if table.ok else 1
