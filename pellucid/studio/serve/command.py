"""`pellucid serve`: serve a model over HTTP on this machine."""

import argparse

from pellucid.base.errors import PellucidError
from pellucid.command.args import Parser
from pellucid.command.models import open_model
from pellucid.command.out import print_lines

LOCALHOST = "127.0.0.1"
DEFAULT_PORT = 8000


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "serve",
        "Serve a model on this machine: a page to try it, and POST /predict, which answers a picture with JSON. Ctrl-C "
        "ends it.",
    )
    parser.model_argument()
    parser.add_argument("--port", type=int, metavar="N", help=f"port, 0 for any free one (default: {DEFAULT_PORT})")
    parser.add_argument(
        "--host",
        metavar="ADDRESS",
        help=f"address to listen on (default: {LOCALHOST}); any other lets every machine that reaches it use the "
        "model, without a password and unencrypted",
    )
    return parser.score_option().device_option()


def handle(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C; print the address."""
    import socket

    try:
        from pellucid.studio.serve.app import application
        from pellucid.studio.serve.connections import http_server
    except ImportError as error:
        raise PellucidError(f"serving needs an extra: pip install 'pellucid[serve]' ({error})") from error
    host, port = args.host or LOCALHOST, DEFAULT_PORT if args.port is None else args.port
    try:
        server = socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        raise PellucidError(f"{host}:{port} cannot be used ({error}); give another --port") from error
    with server:
        port = server.getsockname()[1]
        allowed_hosts = (
            None if args.host not in (None, LOCALHOST, "localhost") else (f"{LOCALHOST}:{port}", f"localhost:{port}")
        )
        app = application(args.model, open_model(args.model, args.device, args.score), allowed_hosts)
        print_lines(f"serving {args.model} at http://{host}:{port} (Ctrl-C ends it)")
        http_server(app).run(sockets=[server])
    return 0
