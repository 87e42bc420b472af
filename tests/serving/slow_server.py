"""A server whose network waits until all places are taken: `python -m tests.serving.slow_server`.

Prints its address, then `taken`, and answers what it has taken after that.
"""

import sys
import time

import numpy as np

from gcnet_jax.serving import (
    Application,
    NetworkQueue,
    Served,
    UploadLimits,
    bound_socket,
    serve,
    url_of,
)


class Shape:
    """A result that says the shape of its image."""

    def __init__(self, image):
        self.image = image

    def to_plain(self):
        """The shape."""
        return list(self.image.shape)


def main() -> None:
    """Serves until SIGTERM."""
    said = []

    def network(images):
        while queue.taken < queue.places and not said:
            time.sleep(0.01)
        if not said:
            said.append(print("taken", flush=True))
        time.sleep(0.2)
        return [Shape(np.asarray(image)) for image in images]

    listening = bound_socket("127.0.0.1", 0)
    with NetworkQueue(places=int(sys.argv[1]), batch_size=1) as queue:
        application = Application([Served("slow", network)], [], queue, UploadLimits()).starlette()
        serve(application, listening, ready=lambda: print(url_of(listening), flush=True))
    print("done", flush=True)


if __name__ == "__main__":
    main()
