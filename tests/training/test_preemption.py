import os
import signal

from gcnet_jax.training import PreemptionNotice


def test_a_signal_is_noticed_and_does_not_end_the_process():
    before = signal.getsignal(signal.SIGTERM)
    with PreemptionNotice() as notice:
        assert not notice.reached()
        os.kill(os.getpid(), signal.SIGTERM)
        assert notice.reached()
        assert notice.reached()
    assert signal.getsignal(signal.SIGTERM) is before
