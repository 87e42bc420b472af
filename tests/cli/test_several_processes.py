"""The commands in several real processes, joined by `jax.distributed` on the loopback address."""

import json
import os
import re
import resource
import subprocess
import sys

import numpy as np
import pytest

from gcnet_jax.cli.command import PREEMPTED
from gcnet_jax.training import read_rows
from tests.cli.conftest import TINY_DETECTOR
from tests.cli.jobs import Job, final_arrays, free_port
from tests.tasks.detection.data.coco_written import (
    annotation,
    document,
    image,
    prepare_written,
    write_image,
)

pytestmark = pytest.mark.timeout(1500)

# At a low rate, where rounding does not grow from step to step.
SLOWLY = (
    "--config.optimizer.learning_rate=0.001",
    "--config.training.batch_size=8",
    "--config.training.total_steps=24",
    "--config.training.evaluate_every=100",
    "--config.evaluation.batch_size=40",
)
SPLIT_IMAGES = ("--config.parallel.spatial=8",)


@pytest.fixture(scope="module")
def arguments(root, tiny):
    return (str(root / "scripts" / "train.py"), *tiny, *SLOWLY)


@pytest.fixture(
    scope="module",
    params=["segmentation", pytest.param("classification", marks=pytest.mark.campaign)],
)
def of_each_task(request, root, tiny_classifier, tmp_path_factory):
    """The command of a run of each task, what splits images, and that run's workdir on one device.

    Those of the classifier are too small to be split over eight devices.
    """
    if request.param == "segmentation":
        arguments = request.getfixturevalue("arguments")
        return arguments, SPLIT_IMAGES, request.getfixturevalue("alone")
    arguments = (str(root / "scripts" / "train.py"), *tiny_classifier, *SLOWLY)
    return arguments, (), on_one_device(arguments, tmp_path_factory)


@pytest.fixture(scope="module")
def alone(arguments, tmp_path_factory):
    """The workdir of the run in one process on one device."""
    return on_one_device(arguments, tmp_path_factory)


def on_one_device(arguments, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    job = Job([*arguments, f"--workdir={folder / 'run'}"], folder, processes=1, devices=1)
    assert job.finish() == [0], job.output()
    return folder / "run"


def assert_same_run(workdir, expected, steps=24):
    def losses(folder):
        return [row["loss"] for row in read_rows(folder) if row["split"] == "train"]

    np.testing.assert_allclose(losses(workdir), losses(expected), rtol=1e-4)
    arrays, expected_arrays = final_arrays(workdir, steps), final_arrays(expected, steps)
    assert arrays.keys() == expected_arrays.keys()
    for name, array in expected_arrays.items():
        atol = 2e-3 * max(np.abs(array).max(), 1e-5)  # a score's bias has no gradient but noise
        np.testing.assert_allclose(arrays[name], array, rtol=0, atol=atol, err_msg=name)


@pytest.mark.slow
def test_two_processes_stop_together_and_other_numbers_of_hosts_and_devices_go_on(
    of_each_task, tmp_path
):
    """Two processes of four devices that share each image; one gets SIGTERM; one process of two
    devices, each with images of its own, ends the run."""
    arguments, split_images, alone = of_each_task
    command = [*arguments, f"--workdir={tmp_path / 'run'}"]
    job = Job([*command, *split_images], tmp_path / "two", processes=2, devices=4)
    job.wait_for(r"step [67]/24")
    job.terminate(1)
    assert job.finish() == [PREEMPTED, PREEMPTED], job.output(0) + job.output(1)
    outputs = "\n".join(job.output(index) for index in range(2))
    steps = {int(s) for s in re.findall(r"preempted: stopped after step (\d+)", outputs)}
    assert len(steps) == 1, outputs
    (step,) = steps
    assert 6 < step < 24
    assert (tmp_path / "run" / "checkpoints" / str(step)).exists()
    assert "8 x cpu, 2 processes" in job.output()

    job = Job(command, tmp_path / "one", processes=1, devices=2)
    assert job.finish() == [0], job.output()
    assert f"resuming after step {step}" in job.output()
    assert_same_run(tmp_path / "run", alone)


@pytest.mark.campaign
@pytest.mark.skipif(sys.platform != "linux", reason="limits another process, as only Linux can")
@pytest.mark.parametrize("without_room", [0, 1])  # the second until the first is missed after 100 s
def test_a_process_without_room_for_its_part_of_a_checkpoint_ends_the_job_soon(
    arguments, tmp_path, without_room
):
    """Orbax alone would have each process wait ten minutes for the other."""
    options = ("--config.training.checkpoint_every=2", "--config.parallel.fsdp=true")
    small_logs = "--config.training.pictures=0"
    command = [*arguments, *options, small_logs, f"--workdir={tmp_path / 'run'}"]
    job = Job(command, tmp_path, processes=2, devices=1)
    job.wait_for(r"step 4/24")
    room = 10_000  # bytes a file: enough for logs, not for arrays
    resource.prlimit(job.processes[without_room].pid, resource.RLIMIT_FSIZE, (room, room))
    assert 0 not in job.finish(seconds=300)
    assert "a checkpoint cannot be written" in job.output(without_room)
    assert "run the same command to go on" in job.output(without_room)


def test_two_processes_count_every_pixel_once(root, tiny, trained, tmp_path):
    confusion = []
    for processes, devices in ((1, 1), (2, 2)):
        output = tmp_path / f"{processes}.json"
        command = [
            str(root / "scripts" / "evaluate.py"),
            *tiny,
            "--config.evaluation.batch_size=40",
        ]
        job = Job(
            [*command, f"--workdir={trained}", f"--output={output}"],
            tmp_path / str(processes),
            processes=processes,
            devices=devices,
        )
        assert job.finish() == [0] * processes, job.output()
        confusion.append(np.array(json.loads(output.read_text())["confusion"]))
    assert confusion[0].sum() == confusion[1].sum() == 100 * 64 * 128
    assert np.abs(confusion[0] - confusion[1]).sum() <= 4


@pytest.mark.campaign
def test_two_processes_train_a_classifier_and_count_every_image_once(
    root, tiny_classifier, command, tmp_path
):
    """Batches of 48 do not divide the 400 images of the split."""
    steps = 6
    arguments = (
        *tiny_classifier,
        *SLOWLY,
        f"--config.training.total_steps={steps}",
        f"--config.training.evaluate_every={steps}",
        f"--config.training.checkpoint_every={steps}",
        "--config.training.pictures=0",
        "--config.evaluation.batch_size=48",
    )
    train = str(root / "scripts" / "train.py")
    job = Job(
        [train, *arguments, f"--workdir={tmp_path / 'two'}"], tmp_path, processes=2, devices=2
    )
    assert job.finish() == [0, 0], job.output(0) + job.output(1)
    here = command("train", *arguments, f"--workdir={tmp_path / 'one'}")
    assert here.returncode == 0, here.stderr
    assert_same_run(tmp_path / "two", tmp_path / "one", steps)
    two, one = (read_rows(tmp_path / folder)[-1] for folder in ("two", "one"))
    assert two.keys() == one.keys() >= {"top-1", "top-5"}
    for name in ("top-1", "top-5"):  # of 400 images, two that are equal within rounding
        assert two[name] == pytest.approx(one[name], abs=2 / 400)
    assert two["top-5"] == 1  # of four classes: an image too many or too few would not be


@pytest.mark.campaign
def test_two_processes_train_a_detector_on_lying_and_standing_images(root, tmp_path):
    """Images of one process could fill batches of one shape while those of the other do not."""
    images = [image(i, size=((32, 64), (64, 32))[i % 3 == 0]) for i in range(11, 36)]
    for shown in images:
        write_image(tmp_path / "images" / shown["file_name"], (shown["height"], shown["width"]))
    annotations = [annotation(shown["id"], shown["id"]) for shown in images]
    prepare_written(tmp_path, document(annotations, images), strict=False)
    steps = 8
    arguments = (
        str(root / "scripts" / "train.py"),
        f"--config={root / 'configs/instances/mask-rcnn_nuclei.py'}:own",
        f"--config.data.data_dir={tmp_path / 'data'}",
        *TINY_DETECTOR,
        *SLOWLY,
        f"--config.training.total_steps={steps}",
    )
    for processes in (2, 1):
        workdir = f"--workdir={tmp_path / str(processes)}"
        job = Job(
            [*arguments, workdir],
            tmp_path / "out",
            processes=processes,
            devices=1,
        )
        assert job.finish(seconds=1000) == [0] * processes, job.output(0)
    two, one = (read_rows(tmp_path / folder) for folder in "21")
    for found, expected in zip(two, one, strict=True):
        assert found.keys() == expected.keys()
        if found["step"] == 1:  # later ones differ where rounding has chosen another region
            assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)
            assert found["gradient_norm"] == pytest.approx(expected["gradient_norm"], rel=1e-3)
        assert found.get("loss", 0) == pytest.approx(expected.get("loss", 0), rel=0.1)


@pytest.mark.campaign
@pytest.mark.parametrize(
    "options",
    [
        ("--config.parallel.spatial=2",),
        SPLIT_IMAGES,
        ("--config.parallel.fsdp=true", "--config.data.num_workers=1"),
    ],
    ids=["spatial within a process", "spatial across processes", "fsdp"],
)
def test_images_and_state_can_be_split_over_two_processes(arguments, alone, tmp_path, options):
    command = [*arguments, *options, f"--workdir={tmp_path / 'run'}"]
    job = Job(command, tmp_path, processes=2, devices=4)
    assert job.finish() == [0, 0], job.output(0) + job.output(1)
    assert_same_run(tmp_path / "run", alone)


def slurm(index, port):
    return {
        "SLURM_JOB_ID": str(port - (65535 - 2**12 + 1)),
        "SLURM_STEP_NODELIST": "127.0.0.1",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": str(index),
        "SLURM_LOCALID": str(index),
    }


def open_mpi(index, port):
    return {
        "OMPI_MCA_orte_hnp_uri": f"{(port - (65535 - 2**12 + 1)) * 2**12}.0;tcp://127.0.0.1:1",
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_RANK": str(index),
        "OMPI_COMM_WORLD_LOCAL_RANK": str(index),
    }


@pytest.mark.parametrize("cluster", [slurm, open_mpi])
def test_processes_find_each_other_by_what_the_cluster_sets(cluster):
    program = (
        "import jax; from gcnet_jax.parallel import join_processes; join_processes(); "
        "print(jax.process_index(), jax.process_count())"
    )
    port = 65535 - free_port() % 2**12  # where both look for one, by the number of the job
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, **cluster(index, port)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    printed = [process.communicate(timeout=120)[0].split()[-2:] for process in processes]
    assert printed == [["0", "2"], ["1", "2"]]


def test_without_a_cluster_a_process_is_alone():
    program = (
        "import jax; from gcnet_jax.parallel import join_processes; join_processes(); "
        "print(jax.process_count(), jax.distributed.is_initialized())"
    )
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    assert process.stdout.split() == ["1", "False"]


def test_an_incomplete_address_is_refused(fails, tiny, tmp_path):
    fails(
        "train",
        *tiny,
        f"--workdir={tmp_path}",
        "--num_processes=2",
        says="give all three, or none",
        code=2,
    )
