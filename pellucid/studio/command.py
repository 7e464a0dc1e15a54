"""`pellucid studio`: serve a page that shows how a network computes, is explained and is trained."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.base.errors import PellucidError
from pellucid.command.args import Parser
from pellucid.command.models import open_network
from pellucid.command.out import print_lines

if TYPE_CHECKING:
    from pellucid.studio.view import Library

LOCALHOST = "127.0.0.1"
DEFAULT_PORT = 8010
RUNS_FOLDER = "runs"  # default folder of runs, which the first training creates
DEFAULT_MODELS = ("mnist-lenet", "mnist-mlp-100")  # offered in addition to the given model; the first reads digits best


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "studio",
        "Serve a page on this machine, and open it in the browser: read lessons; draw a digit, see the network compute "
        "it, ask a weight for its derivative, and take a step of gradient descent; train with a recipe, and watch. "
        "Ctrl-C ends it, after the trainings that were started on the page have saved.",
    )
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL|RUN|FOLDER",
        help=f"a run folder, a weights file, an ONNX file, or the name of a pretrained model (default: "
        f"{' and '.join(DEFAULT_MODELS)}); or a folder of runs to list and train in (default: that of RUN, or "
        f"{RUNS_FOLDER})",
    )
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="PATH",
        help="data of your own that runs name as theirs, for their confusion matrices and the doctor; may be repeated",
    )
    parser.add_argument("--port", type=int, metavar="N", help=f"port, 0 for any free one (default: {DEFAULT_PORT})")
    parser.add_argument("--no-open", action="store_true", help="only print the address")
    return parser


def handle(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C; print the address, and open it in the browser."""
    import secrets
    import signal
    import socket
    import threading
    import webbrowser

    try:
        import websockets  # noqa: F401  (uvicorn needs it for WebSockets)

        from pellucid.base.limits import MAX_MESSAGE_BYTES
        from pellucid.studio.app import application
        from pellucid.studio.serve.connections import http_server
    except ImportError as error:
        raise PellucidError(f"the studio needs an extra: pip install 'pellucid[studio]' ({error})") from error
    import torch

    from pellucid.shipped_files import pretrained_names
    from pellucid.studio.runs import Runs
    from pellucid.studio.view import Library

    torch.set_num_threads(1)  # one drawing is too small to be divided among threads, and tabs run in parallel
    port = DEFAULT_PORT if args.port is None else args.port
    folder = Path(args.model or RUNS_FOLDER)
    is_run = any((folder / name).exists() for name in ("recipe.toml", "metrics.csv", "weights"))
    is_folder = (folder.is_dir() or args.model == RUNS_FOLDER) and not is_run
    if args.model and len(folder.parts) > 1 and not folder.exists():
        raise PellucidError(f"{folder} does not exist; for a new folder of runs, create it first")
    models: list[str] = [args.model] if args.model and not is_folder else []
    runs = Runs(folder if is_folder else folder.parent if is_run else RUNS_FOLDER, args.data)
    names = (*models, *(name for name in DEFAULT_MODELS if name not in models))
    first_view = "" if args.model else "learn"  # who names no model is a beginner
    library = Library(names, open_network, runs, pretrained_names(), first_view)
    library.load(library.names[0])  # raises PellucidError, before serving, for a model that cannot be read
    try:
        server = socket.create_server((LOCALHOST, port))
    except (OSError, OverflowError) as error:
        raise PellucidError(f"{LOCALHOST}:{port} cannot be used ({error}); give another --port") from error
    with server:
        port, token = server.getsockname()[1], secrets.token_urlsafe(24)
        app = application(library, (f"{LOCALHOST}:{port}", f"localhost:{port}"), token, f"pellucid-{port}")
        address = f"http://{LOCALHOST}:{port}/?token={token}"
        print_lines(f"the studio is at {address} (works once, in one browser; Ctrl-C ends it)")
        threading.Thread(target=_preload, args=[library]).start()  # Python crashes if it ends during an import
        if not args.no_open:
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
        http = http_server(
            app,
            lifespan="off",
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_per_message_deflate=False,  # compression takes longer than local transfer
            timeout_graceful_shutdown=1,
        )
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C, so running trainings save
        try:
            http.run(sockets=[server])
        finally:
            runs.close()
    return 0


def _preload(library: "Library") -> None:
    """Load the digits and models that the page needs first, and prevent garbage collection pauses of 0.3 s.

    The loaded objects are never freed, so they are excluded from garbage collection. Traces contain reference cycles;
    frequent short collections delay the page less than a few long ones (`python -m benchmarks.studio_clients`).
    """
    import gc

    from pellucid.studio.draw.samples import digits

    digits()
    for name in library.names:
        library.load(name)
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], 1)
