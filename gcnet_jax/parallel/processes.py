"""Start-up on many hosts: one process a host or a device, which find each other through JAX."""

import re

import jax
from orbax.checkpoint import multihost

from gcnet_jax.errors import InputError, UsageError

_MEETING_MILLISECONDS = 3_600_000
# In what JAX says: of collectives on CPUs, and of the service that processes find each other by.
_SIGNS_OF_LOSS = ("Gloo", "CoordinationService", "coordination service", "Barrier timed out")


def join_processes(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    listens: bool = False,
) -> None:
    """Joins the processes of a job; to be called before anything else asks JAX for devices.

    Without arguments JAX looks where it runs: Cloud TPU, GKE, SLURM and Open MPI tell it. Where
    nothing does, this is the only process.

    Args:
        coordinator_address: `HOST:PORT` of the first process; with it the other two are needed.
        num_processes: of the job.
        process_id: of this one, from 0.
        listens: whether this process will ask for notices of preemption: SIGTERM then ends it no
            longer by itself.

    Raises:
        UsageError: some of the three are missing, or the address is none.
        InputError: they make no sense together, or JAX has computed already.
    """
    if jax.distributed.is_initialized():  # by whoever called before, in this process
        return
    jax.config.update("jax_enable_preemption_service", listens)
    given = (coordinator_address, num_processes, process_id)
    if all(value is None for value in given):
        try:
            jax.distributed.initialize()
        except ValueError as error:  # what JAX raises where it has found no cluster
            if "coordinator_address should be defined" not in str(error):
                raise
        except RuntimeError as error:
            if not _has_computed(error):  # alone, then: nobody has joined others before
                raise
        return
    if any(value is None for value in given):
        raise UsageError(
            "--coordinator_address, --num_processes and --process_id belong together; give all "
            "three, or none where the cluster tells them"
        )
    if not re.fullmatch(r".+:\d+", coordinator_address or ""):
        raise UsageError(f"--coordinator_address is {coordinator_address!r}; expected HOST:PORT")
    try:
        jax.distributed.initialize(coordinator_address, num_processes, process_id)
    except ValueError as error:
        raise InputError(f"the processes cannot be joined: {error}") from error
    except RuntimeError as error:
        if not _has_computed(error):
            raise
        raise InputError(
            "the processes cannot be joined: JAX has computed in this one already; join them first"
        ) from error


def _has_computed(error: RuntimeError) -> bool:
    return "must be called before any JAX calls" in str(error)


def meet(place: str) -> None:
    """Returns when all processes of the job have come to this place, within an hour.

    Before the first collective operation: those on CPUs give up after half a minute, and a process
    that must compile what others have in their cache comes later than that.
    """
    multihost.get_barrier_sync_fn()(key=place, timeout_ms=_MEETING_MILLISECONDS)


def is_loss_of_partner(error: BaseException) -> bool:
    """Whether an exception comes from another process of the job having ended or being cut off."""
    return (
        jax.distributed.is_initialized()
        and isinstance(error, jax.errors.JaxRuntimeError)
        and any(sign in str(error) for sign in _SIGNS_OF_LOSS)
    )


def is_first_process() -> bool:
    """Whether this is the process that writes and prints what all of them have."""
    return jax.process_index() == 0
