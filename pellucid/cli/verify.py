"""`pellucid verify`: compare every gradient of a network with independently computed derivatives."""

import argparse

from pellucid.cli.args import Parser
from pellucid.cli.models import MODEL_HELP

LARGEST_BATCH = 64


def parser() -> Parser:
    """Return the parser of this command."""
    it = Parser(
        "verify",
        "Compare each gradient with independently computed derivatives, and compare the fused forms of the network.",
    )
    it.add_argument("what", metavar="MODEL|RECIPE", help=f"{MODEL_HELP}, or a recipe")
    it.add_argument("settings", nargs="*", metavar="key=value", help="changes to the recipe")
    it.add_argument("--batch", type=int, default=4, metavar="N", help="images drawn at random (default: 4)")
    it.add_argument("--samples", type=int, default=8, metavar="N", help="entries of each tensor to move (default: 8)")
    return it.data_option().device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the table; the exit code is 1 where a gradient is wrong."""
    import torch

    from pellucid.cli.nets import open_net
    from pellucid.cli.out import emit, say_text
    from pellucid.config import is_ours
    from pellucid.contract import try_loss
    from pellucid.errors import PellucidError
    from pellucid.losses import AuxiliaryCrossEntropy
    from pellucid.losses.keypoints import KeypointLoss
    from pellucid.training.device import on_device, usable_device
    from pellucid.verify import verify

    if not 1 <= args.batch <= LARGEST_BATCH:
        raise PellucidError(f"--batch is {args.batch}; give 1 to {LARGEST_BATCH} images")
    if not 2 <= args.samples <= 1000:
        raise PellucidError(f"--samples is {args.samples}; give 2 to 1000 entries")
    device = usable_device(args.device or "cpu")
    it = open_net(args.what, args.settings, args.data)
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(args.batch, *it.input_shape, generator=draw)
    outputs = it.output_shape
    if isinstance(it.loss, AuxiliaryCrossEntropy):
        it.loss.check(outputs, torch.zeros(1, dtype=torch.int64))
        outputs = outputs[0]  # all of them are for the same classes
    if not outputs or not isinstance(outputs[0], int):
        raise PellucidError(f"{args.what} has several outputs, {outputs}, and no loss for them all; see Model.verify")
    target = torch.randint(max(2, outputs[0]), (args.batch, *outputs[1:]), generator=draw)
    if isinstance(it.loss, KeypointLoss):
        _, height, width = it.input_shape
        points = torch.rand(args.batch, it.loss.points(outputs), 3, generator=draw)
        target = 1 + points * torch.tensor([width - 2, height - 2, 1])
    if not is_ours(it.loss):
        try:
            try_loss(it.loss, torch.zeros(args.batch, *outputs), target)
        except PellucidError:  # it is for no classes
            target = torch.rand(args.batch, *outputs, generator=draw)
    params, x, target = on_device((it.params, x, target), device)
    table = verify(it.net, params, x, target, it.loss, samples=args.samples, training=it.training)
    if args.json:
        emit({"what": args.what, **table.to_json()})
    else:
        say_text(str(table))
    return 0 if table.ok else 1
