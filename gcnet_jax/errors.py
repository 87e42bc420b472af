"""The exceptions that commands turn into one line and an exit status."""


class InputError(ValueError):
    """Something given to the library is wrong: a file, a config, a shape, a checkpoint.

    The message names the thing at fault and what was expected of it. Commands print it as a single
    line and exit with status 1; anything else that is raised is a bug and keeps its traceback.
    """


class Preempted(Exception):
    """The machine is about to be taken away, and what was done is saved.

    Commands exit with a status of its own, by which a scheduler tells this from failure.
    """
