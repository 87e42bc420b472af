import json

import cv2
import pytest


@pytest.mark.slow
def test_it_trains_both_networks_and_draws_the_page_and_starts_where_it_left_off(command, tmp_path):
    arguments = ("--steps=4", "--seeds=1", f"--output_dir={tmp_path}")
    first = command("quickstart", *arguments)
    assert first.returncode == 0, first.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert [row["network"] for row in results["mIoU"]] == ["gcnet", "fcn"]
    for row in results["mIoU"]:
        assert f"{100 * row['mIoU']:.1f}" in first.stdout
    page = cv2.imread(str(tmp_path / "page.png"))
    assert page.shape[1] == 1200
    assert page.std() > 20

    again = command("quickstart", *arguments)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("resuming after step 4") == 2
    assert json.loads((tmp_path / "results.json").read_text())["mIoU"] == results["mIoU"]
