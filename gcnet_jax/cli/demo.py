"""Shows trained networks on a page of this machine: drop a photo, see the result.

    gcnet demo runs/shapes
    gcnet demo runs/shapes_gc runs/shapes_nl

opens an address in a browser of this machine, where photos can be dropped on networks: folders of
runs, checkpoints, exported files, or names of published runs. Two stand side by side, with a slider
between them. Without any, the newest runs in ./runs are shown, or those of the quickstart.

Programs ask the same server, a photo a call:

    curl --data-binary @photo.jpg http://127.0.0.1:8000/networks/0/result.json
    curl --data-binary @photo.jpg -o out.png \\
        http://127.0.0.1:8000/networks/0/picture.png

What it answers to is in docs/serving.md. It is reached from this machine alone, unless --host says
otherwise. SIGTERM and Ctrl-C stop it, once all that was asked is answered; a second Ctrl-C drops
what still waits.
"""

import socket
from collections.abc import Sequence

from absl import flags

from gcnet_jax.cli import command
from gcnet_jax.cli.importing import importing
from gcnet_jax.errors import UsageError

_OPTIONS = flags.FlagValues()
_HOST = flags.DEFINE_string(
    "host",
    "127.0.0.1",
    "address to listen at; 0.0.0.0 lets in everybody who can reach this machine",
    flag_values=_OPTIONS,
)
_PORT = flags.DEFINE_integer(
    "port",
    8000,
    "to listen at; 0 takes a free one",
    lower_bound=0,
    upper_bound=65535,
    flag_values=_OPTIONS,
)
_MAX_REQUESTS = flags.DEFINE_integer(
    "max_requests",
    16,
    "most requests that wait or are under way; more are refused",
    lower_bound=1,
    flag_values=_OPTIONS,
)
_MAX_PIXELS = flags.DEFINE_integer(
    "max_pixels", 24_000_000, "most pixels of a photo", lower_bound=1, flag_values=_OPTIONS
)
_MAX_BYTES = flags.DEFINE_integer(
    "max_bytes", 20_000_000, "most bytes of a photo's file", lower_bound=1, flag_values=_OPTIONS
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; see `gcnet_jax.cli.command.run`."""
    return command.run(_demo, __name__, _OPTIONS, arguments)


def _demo(arguments: list[str]) -> None:
    from gcnet_jax.cli.shown_runs import runs_to_show

    runs = arguments or runs_to_show()
    with importing():
        try:
            import starlette  # noqa: F401
            import uvicorn  # noqa: F401
        except ImportError as error:
            raise UsageError(
                "gcnet demo needs packages that are not installed: pip install 'gcnet-jax[demo]'"
            ) from error
        from gcnet_jax.cli.shown_runs import examples_of, load_networks
        from gcnet_jax.serving import (
            Application,
            UploadLimits,
            bound_socket,
            decoders_silenced,
            is_loopback,
            queue_for_networks,
            serve,
            url_of,
        )
    listening = bound_socket(_HOST.value, _PORT.value)
    networks = load_networks(runs)
    limits = UploadLimits(size=_MAX_BYTES.value, pixels=_MAX_PIXELS.value)
    examples = examples_of(networks) if is_loopback(listening) else []  # they may be private

    def say() -> None:
        if not is_loopback(listening):
            name, port = socket.gethostname(), listening.getsockname()[1]
            print(f"whoever can reach this machine can use this server, at http://{name}:{port}")
        print(f"open {url_of(listening)} in a browser; Ctrl-C ends it", flush=True)

    with decoders_silenced(), queue_for_networks(places=_MAX_REQUESTS.value) as queue:
        serve(Application(networks, examples, queue, limits).starlette(), listening, ready=say)
    print("stopped")
