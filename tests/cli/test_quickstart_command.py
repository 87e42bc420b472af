import json

import cv2
import pytest


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_block_is_worth_15_points_and_a_second_start_goes_on_where_it_left_off(
    process, command, tmp_path
):
    arguments = ("--seeds=1", f"--output_dir={tmp_path}")
    first = process("quickstart", *arguments, seconds=1200)
    assert first.returncode == 0, first.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    miou = {row["network"]: 100 * row["mIoU"] for row in results["mIoU"]}
    assert miou["gcnet"] - miou["fcn"] >= 15, miou
    for value in miou.values():
        assert f"{value:.1f}" in first.stdout
    page = cv2.imread(str(tmp_path / "page.png"))
    assert page.shape[1] == 1200
    assert page.std() > 20

    again = command("quickstart", *arguments)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("resuming after step") == 2
    again = json.loads((tmp_path / "results.json").read_text())["mIoU"]
    # On another number of devices, in this process, the same network rounds in another way.
    assert [row["mIoU"] for row in again] == pytest.approx(
        [row["mIoU"] for row in results["mIoU"]], abs=1e-3
    )
