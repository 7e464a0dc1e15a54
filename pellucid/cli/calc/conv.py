"""`pellucid calc conv`: the output size of a convolution, its weights and multiply-adds."""

import argparse

from pellucid.cli.args import Parser


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser("calc conv", "The output size of a convolution over square images, its weights and multiply-adds.")
    parser.add_argument("size", type=int, metavar="W", help="height and width of the input")
    parser.add_argument("kernel", type=int, metavar="K", help="height and width of the kernel")
    parser.add_argument("--stride", type=int, default=1, metavar="S", help="stride (default: 1)")
    parser.add_argument("--padding", type=int, default=0, metavar="P", help="zeros added at each edge (default: 0)")
    parser.add_argument(
        "--dilation", type=int, default=1, metavar="D", help="spacing of the kernel elements (default: 1)"
    )
    parser.add_argument("--channels", type=int, default=1, metavar="C", help="channels of the input (default: 1)")
    parser.add_argument(
        "--filters", type=int, default=1, metavar="F", help="number of filters, the output channels (default: 1)"
    )
    return parser.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the counts, each with its formula."""
    from pellucid.cli.out import emit, say_text
    from pellucid.combine import Sequential
    from pellucid.errors import PellucidError
    from pellucid.layers import Conv2d
    from pellucid.network.counts import counts
    from pellucid.text import aligned

    if min(args.size, args.channels) < 1:
        raise PellucidError("pellucid calc conv: W and --channels must be at least 1")
    w, k, s, p, d, c, f = (
        getattr(args, name) for name in ("size", "kernel", "stride", "padding", "dilation", "channels", "filters")
    )
    (row,) = counts(Sequential(Conv2d(f, k, stride=s, padding=p, dilation=d)), (c, w, w)).rows
    out = row.shape[1]
    if args.json:
        numbers = {"output_size": out, "output_shape": row.shape, "weights": row.weights, "biases": row.biases}
        emit({**numbers, "parameters": row.weights + row.biases, "multiply_adds": row.multiply_adds})
        return 0
    rows = [
        ("output size", f"floor(({w} - {d} x ({k} - 1) - 1 + 2 x {p}) / {s}) + 1", f"{out:,}"),
        ("weights", f"{k} x {k} x {c} x {f}", f"{row.weights:,}"),
        ("biases", "one for each filter", f"{row.biases:,}"),
        ("parameters", "weights and biases", f"{row.weights + row.biases:,}"),
        ("multiply-adds", f"{out} x {out} x {row.weights:,}", f"{row.multiply_adds:,}"),
    ]
    say_text(aligned(rows, right={2}))
    return 0
