"""The one exception type for what a user can put right."""


class InputError(ValueError):
    """Something given to the library is wrong: a file, a config, a shape, a checkpoint.

    The message names the thing at fault and what was expected of it. Commands print it as a single
    line and exit with status 1; anything else that is raised is a bug and keeps its traceback.
    """
