import json

import pytest
from etils import epath

from gcnet_jax.analysis import VARIANTS
from gcnet_jax.cli.attention_study import parse_point
from gcnet_jax.cli.cost_tables import parse_size
from gcnet_jax.errors import InputError
from gcnet_jax.tasks import task_of
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.training import save_model
from tests.cli.conftest import TINY


@pytest.fixture(scope="module")
def ablation(root, command, shapes_dir, tmp_path_factory):
    """Arguments of an ablation of two networks, and the folder that it was written to."""
    folder = tmp_path_factory.mktemp("ablation") / "results"
    arguments = (
        f"--config={root / 'configs' / 'ablation' / 'context_shapes.py'}",
        *TINY,
        "--config.training.total_steps=2",
        f"--config.data.data_dir={shapes_dir}",
        f"--output_dir={folder}",
        "--variants=none,nl",
        "--seeds=2",
        "--timing_steps=2",
        "--split=val",
    )
    process = command("ablate", *arguments)
    assert process.returncode == 0, process.stderr
    return arguments, folder


@pytest.mark.slow
def test_an_ablation_has_every_variant_with_every_seed(ablation):
    _, folder = ablation
    result = json.loads((folder / "ablation.json").read_text())
    assert [row["name"] for row in result["rows"]] == ["none", "nl"]
    none, nl = result["rows"]
    for row in result["rows"]:
        assert len(row["miou"]) == 2
        assert row["miou"][0] != row["miou"][1]
        assert all(0 <= score <= 1 for score in row["miou"])
        assert row["step_seconds"]["median"] > 0
    assert none["parameters"] < nl["parameters"]
    assert none["multiply_adds"] < nl["multiply_adds"]
    table = (folder / "ablation.md").read_text().splitlines()
    assert len(table) == 2 + 2
    assert table[2].startswith("| none |")
    assert (folder / "ablation.png").stat().st_size > 1000


@pytest.mark.slow
def test_what_is_done_of_an_ablation_is_not_repeated(ablation, command):
    arguments, folder = ablation
    before = json.loads((folder / "ablation.json").read_text())["rows"]
    process = command("ablate", *arguments)
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("done before") == 4
    after = json.loads((folder / "ablation.json").read_text())["rows"]
    assert [row["miou"] for row in before] == [row["miou"] for row in after]


@pytest.mark.slow
def test_results_of_another_config_are_not_taken_for_this_one(ablation, fails):
    arguments, folder = ablation
    says = "optimizer.power: 0.9 -> 1.0"
    score = folder / "runs" / "none_0" / "val.json"
    kept = score.rename(score.with_suffix(".kept"))  # as if stopped between training and scoring
    try:
        fails("ablate", *arguments, "--config.optimizer.power=1.0", says=says)
    finally:
        kept.rename(score)


@pytest.mark.slow
def test_the_study_of_a_non_local_block(ablation, command, tmp_path):
    arguments, folder = ablation
    config, *overrides = (a for a in arguments if a.startswith("--config"))
    model = (f"{config}:nl", *overrides, f"--workdir={folder / 'runs' / 'nl_0'}")
    process = command(
        "analyze_context",
        "attention",
        *model,
        f"--output_dir={tmp_path / 'study'}",
        "--images=3",
        "--positions=20",
        "--pictures=2",
        "--point=0,0",
        "--point=1,1",
    )
    assert process.returncode == 0, process.stderr
    result = json.loads((tmp_path / "study" / "attention.json").read_text())
    assert result["images"] == 3
    report = result["blocks"]["decode_head.context"]
    assert report["block"] == "NonLocal"
    assert report["size"] == [16, 32]
    assert report["queries"] == 20
    for measure in ("input", "output", "attention", "attention_divergence"):
        assert 0 <= report[measure]["mean"] <= 1
    assert report["input"]["mean"] > 0.01
    assert (tmp_path / "study" / "decode_head.context.png").stat().st_size > 1000
    assert "NonLocal" in process.stdout


def test_the_study_of_a_global_context_block_has_its_one_map(trained, tiny, command, tmp_path):
    process = command(
        "analyze_context", "attention", *tiny, f"--workdir={trained}", f"--output_dir={tmp_path}",
        "--images=2", "--pictures=1",
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    report = json.loads((tmp_path / "attention.json").read_text())["blocks"]["decode_head.context"]
    assert report["attention"]["mean"] == report["attention_divergence"]["mean"] == 0
    assert report["input"]["mean"] > 0.01


@pytest.mark.parametrize(
    ("config", "data", "size"),
    [
        (("instances/mask-rcnn_nuclei.py", "context_objects"), "objects_dir", [10, 24]),
        pytest.param(
            ("context_scenes/gcnet.py",), "scenes_dir", [16, 16], marks=pytest.mark.campaign
        ),
    ],
)
def test_networks_of_all_tasks_are_studied(root, command, tmp_path, request, config, data, size):
    file, *arguments = config
    config = load_config(root / "configs" / file, *arguments)
    config.data.data_dir = str(request.getfixturevalue(data))
    config.model.backbone.base_channels, config.model.backbone.num_stages = 8, 1
    config.model.backbone.context.stages = (0,)
    if config.task == "detection":  # whose images of 64x160 lie in arrays of 64x96
        config.data.base_scale, config.model.neck.channels = (96, 64), 8
        config.model.rpn.channels = config.model.box_head.channels = 8
        config.model.mask_head.channels, config.model.mask_head.convolutions = 8, 1
    task = task_of(config)
    meaning = task.data_sets.meanings[config.data.name]
    save_model(epath.Path(tmp_path / "network"), task.build_model(config, meaning), config, meaning)
    study = tmp_path / "study"
    process = command(
        "analyze_context", "attention", tmp_path / "network", f"--output_dir={study}",
        "--images=1", "--pictures=1",
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    blocks = json.loads((study / "attention.json").read_text())["blocks"]
    for path, report in blocks.items():
        assert report["size"] == size
        assert report["attention"]["mean"] == 0
        assert report["input"]["mean"] > 0.01
        assert (study / f"{path}.png").stat().st_size > 1000
    assert list(blocks) == [f"backbone.stages.0.{i}.context" for i in range(len(blocks))] != []


def test_costs_of_a_configs_network(command, root, tmp_path):
    process = command(
        "analyze_context",
        "cost",
        f"--config={root / 'configs' / 'ablation' / 'context_shapes.py'}",
        "--config.model.backbone.depth=18",  # whose residual blocks have no third convolution
        "--size=64,64",
        f"--output_dir={tmp_path}",
    )
    assert process.returncode == 0, process.stderr
    result = json.loads((tmp_path / "cost.json").read_text())
    assert result["size"] == [64, 64]
    rows = {row["variant"]: row for row in result["rows"]}
    channels, width = 32, 16
    assert set(VARIANTS) - set(rows) == {"gc-conv3", "gc-c3", "gc-c4", "gc-c5"}
    assert "gc-conv3: model.backbone: context.position is 'after_conv3'" in process.stdout
    added = rows["gc"]["parameters"] - rows["none"]["parameters"]
    assert added == channels + 1 + 2 * channels * width + width + channels + 2 * width


def test_an_analysis_that_there_is_not_is_refused(fails):
    fails("analyze_context", "costs", says="costs given; expected 'attention' or 'cost'", code=2)


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [(parse_size, "1024,2048", (1024, 2048)), (parse_point, "0.25,1", (0.25, 1.0))],
)
def test_sizes_and_points_are_two_numbers(parse, text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        *((parse_size, text) for text in ("64", "64,-1", "64,6.5", "64,64,3", "")),
        *((parse_point, text) for text in ("2,0", "0.5", "a,b", "nan,0", "0,-0.1")),
    ],
)
def test_sizes_and_points_that_are_none_are_refused(parse, text):
    with pytest.raises(InputError, match=r"expected .*such as"):
        parse(text)


@pytest.mark.slow
def test_a_network_without_context_blocks_has_nothing_to_study(ablation, fails, tmp_path):
    arguments, folder = ablation
    config, *overrides = (a for a in arguments if a.startswith("--config"))
    model = (f"{config}:none", *overrides, f"--workdir={folder / 'runs' / 'none_0'}")
    output = tmp_path / "study"
    fails(
        "analyze_context", "attention", *model, f"--output_dir={output}", says="no context blocks"
    )
    assert not list(output.iterdir())


@pytest.mark.slow
def test_variants_that_there_are_not_are_refused(fails, ablation, root):
    arguments, _ = ablation
    fails("ablate", *arguments, "--variants=", says="names none", code=2)


@pytest.mark.slow
def test_a_table_with_more_rows_is_not_replaced(fails, ablation):
    arguments, folder = ablation
    before = (folder / "ablation.json").read_text()
    fails("ablate", *arguments, "--variants=nl", says="has the rows none as well")
    assert (folder / "ablation.json").read_text() == before


def test_an_unknown_variant_is_refused_by_a_config(fails, root):
    config = root / "configs" / "ablation" / "context_shapes.py"
    fails("train", f"--config={config}:gcc", "--workdir=x", says="no variant 'gcc'", code=2)
