import jax
import pytest

from gcnet_jax.errors import InputError
from gcnet_jax.training import lack_of_memory_named


def test_what_needs_less_memory_is_named_and_other_errors_stay_as_they_are():
    with pytest.raises(InputError, match=r"lower evaluation\.batch_size"), lack_of_memory_named():
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), lack_of_memory_named():
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")
