"""`pellucid turn`: turn a picture by an angle."""

from pellucid.command.args import Parser
from pellucid.command.out import print_result


def parser():
    parser = Parser("turn", "Turn a picture by an angle, and write it as PNG.")
    parser.add_argument("image", metavar="IMAGE", help="a picture")
    parser.add_argument("degrees", metavar="DEGREES", type=float, help="anticlockwise")
    parser.add_argument("out", metavar="FILE", help="PNG file to write")
    return parser.json_flag()


def handle(args):
    from PIL import Image

    with Image.open(args.image) as image:
        image.rotate(args.degrees).save(args.out)
    print_result(args, {"file": args.out, "degrees": args.degrees}, f"wrote {args.out}")
    return 0
