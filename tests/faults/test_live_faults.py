from tests.faults.live_faults import STOP_SECONDS, latest_end


def test_the_time_to_stop_counts_from_the_notice_but_not_before_the_first_step():
    assert latest_end(told=30, first_step=20) == 30 + STOP_SECONDS
    assert latest_end(told=10, first_step=20) == 20 + STOP_SECONDS


def test_no_start_goes_on_forever():
    assert latest_end(None, None) == latest_end(5, None) == latest_end(None, 5)
    assert latest_end(told=10_000, first_step=20) == latest_end(None, None) < 1000
