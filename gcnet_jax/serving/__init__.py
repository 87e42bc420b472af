"""Trained networks behind HTTP: a page to drop a photo on, and an interface for programs."""

from gcnet_jax.serving.application import Application
from gcnet_jax.serving.guard import Guard
from gcnet_jax.serving.network_queue import NetworkQueue, QueueFullError
from gcnet_jax.serving.served_network import Served, queue_for_networks
from gcnet_jax.serving.server import bound_socket, is_loopback, serve, url_of
from gcnet_jax.serving.uploads import UploadLimits, decoders_silenced

__all__ = [
    "Application",
    "Guard",
    "NetworkQueue",
    "QueueFullError",
    "Served",
    "UploadLimits",
    "bound_socket",
    "decoders_silenced",
    "is_loopback",
    "queue_for_networks",
    "serve",
    "url_of",
]
