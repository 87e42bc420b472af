import json
import sys

import pytest

from gcnet_jax.config import split_argument, to_plain
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.configs import check_config, config_from_argument, load_config, read_config
from gcnet_jax.tasks.segmentation.config import default_config


def write(tmp_path, body, returns="return config"):
    path = tmp_path / "run.py"
    path.write_text(
        "from gcnet_jax.tasks.segmentation.config import default_config\n\n"
        "def get_config(width=None):\n    config = default_config()\n"
        f"    {body}\n    {returns}\n"
    )
    return path


def write_json(tmp_path, changes=None, **others):
    """What a run writes into its workdir."""
    config = default_config()
    for key, value in (changes or {}).items():
        config.update_from_flattened_dict({key: value})
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"config": to_plain(config), "classes": {}, **others}))
    return path


# Python ------------------------------------------------------------------------------------------


def test_a_misspelt_key_in_a_file_is_named_with_what_was_meant(tmp_path):
    path = write(tmp_path, "config.optimizer.learning_rat = 1.0")
    with pytest.raises(InputError, match=r"run\.py.*learning_rate"):
        load_config(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no config file .*nothing\.py"):
        load_config(tmp_path / "nothing.py")


def test_a_config_takes_arguments(tmp_path):
    path = write(tmp_path, "config.model.backbone.base_channels = int(width)")
    assert load_config(path, "8").model.backbone.base_channels == 8
    assert config_from_argument(f"{path}:8").model.backbone.base_channels == 8


@pytest.mark.parametrize(
    ("returns", "says"),
    [
        ("", r"get_config returns a NoneType: it has no `return config`"),
        ("return {}", "get_config returns a dict; expected the config"),
        ("return 'config'", "get_config returns a str; expected the config"),
        (
            "from ml_collections import config_dict as c; config.unlock(); "
            "config.update(seed=c.required_placeholder(int)); return config",
            "RequiredValueError",
        ),
    ],
)
def test_a_get_config_that_returns_no_config_is_told_what_it_lacks(tmp_path, returns, says):
    with pytest.raises(InputError, match=rf"run\.py: {says}"):
        load_config(write(tmp_path, "config.seed = 1", returns))


def test_a_value_out_of_range_is_named_with_the_file_unless_it_may_still_be_changed(tmp_path):
    path = write(tmp_path, "config.seed = -1")
    with pytest.raises(InputError, match=r"run\.py: seed is -1; expected 0 or more"):
        load_config(path)
    config = read_config(path)
    config.seed = 1
    check_config(config)


def test_a_file_without_get_config_and_one_that_is_no_python_are_named(tmp_path):
    path = tmp_path / "run.py"
    for text, says in (("x = 1\n", "AttributeError.*get_config"), ("def f(:\n", "SyntaxError")):
        path.write_text(text)
        with pytest.raises(InputError, match=rf"run\.py: {says}"):
            load_config(path)


# JSON --------------------------------------------------------------------------------------------


def test_the_config_of_a_run_is_read_from_what_it_wrote(tmp_path):
    path = write_json(tmp_path, {"data.crop_size": (64, 96), "seed": 7})
    config = load_config(path)
    assert config.data.crop_size == (64, 96)
    assert config.seed == 7
    assert config.model == default_config().model
    with pytest.raises(AttributeError, match=r"Did you mean.*seed"):
        config.sead = 1


def test_keys_that_an_older_run_did_not_know_have_their_defaults(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"config": {"seed": 3}}))
    assert load_config(path).parallel == default_config().parallel


def test_a_json_file_chooses_no_code_to_run(tmp_path):
    for place in ("backbone", "decode_head"):
        path = write_json(tmp_path, {f"model.{place}.context.block": "antigravity:X"})
        with pytest.raises(
            InputError, match=r"config\.json .*'antigravity:X'.*must not choose code"
        ):
            read_config(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not what a run writes"),
        ("[]", "not what a run writes"),
        ('{"classes": {}}', "not what a run writes.*config"),
        ("[" * 100_000, "not what a run writes"),
        ('{"config": 3}', "the config is 3; expected a section"),
        ('{"config": {"data": []}}', r"data is \[\]; expected a section"),
        ('{"config": {"data": {"crop": 3}}}', r"no key 'data\.crop'"),
        ('{"config": {"\\u001b[2J": 3}}', r"no key '\\x1b\[2J'"),
        ('{"config": {"seed": -1}}', "seed is -1; expected 0 or more"),
        ('{"config": {"seed": {"a": 1}}}', "seed is .*; expected 0 or more"),
        ('{"config": {"seed": [1]}}', r"seed is \(1,\); expected 0 or more"),
        ('{"config": {"optimizer": {"momentum": NaN}}}', "momentum is nan; expected"),
        ('{"config": {"data": {"crop_size": [[1], 2]}}}', "crop_size is .*; expected 2 numbers"),
    ],
)
def test_a_json_file_that_is_something_else_is_named_in_one_line(tmp_path, text, says):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"config\.json.*{says}") as raised:
        load_config(path)
    assert str(raised.value).isprintable()


def test_a_json_file_takes_no_argument(tmp_path):
    with pytest.raises(InputError, match=r"config\.json takes no argument; given: nl"):
        config_from_argument(f"{write_json(tmp_path)}:nl")


# What a command line gives -----------------------------------------------------------------------


def test_a_workdir_is_told_from_its_config(tmp_path):
    with pytest.raises(InputError, match=r"is a folder; expected a file, such as .*config\.json"):
        config_from_argument(str(tmp_path))


def test_folders_may_have_colons_in_their_names(tmp_path):
    folder = tmp_path / "lr:0.1"
    folder.mkdir()
    file = write(folder, "config.seed = int(width or 3)")
    assert config_from_argument(str(file)).seed == 3
    assert split_argument(f"{file}:5:6") == (file, ["5:6"])
    assert split_argument(str(folder)) == (folder, [])
    with pytest.raises(InputError, match=r"there is no config file configs/no_such_file\.py"):
        split_argument("configs/no_such_file.py:nl")


def test_a_run_in_a_folder_of_its_configs_name_does_not_hide_the_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path)
    for name in ("fcn", "context_shapes/fcn", "small"):
        (tmp_path / name).mkdir(parents=True)
    assert config_from_argument("fcn").data.name == "context_shapes"
    assert config_from_argument("context_shapes/fcn").data.name == "context_shapes"
    assert config_from_argument("small:plants").data.name == "plants"
    with pytest.raises(InputError, match="is a folder"):
        config_from_argument("./fcn")


@pytest.mark.parametrize("name", ["fcn", "context_shapes/fcn"])
def test_configs_of_the_library_go_by_name_with_or_without_their_folder(
    name, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert config_from_argument(name).data.name == "context_shapes"
    assert config_from_argument("ablation/context_shapes:nl").variant == "nl"


def test_names_near_a_misspelt_one_are_listed():
    meant = r"did you mean 'gcnet_r50-d8_4xb2-40k_cityscapes-512x1024'\?"
    with pytest.raises(InputError, match=meant):
        config_from_argument("gcnet_r50-d8_4xb2-40k_cityscape-512x1024")


def test_a_folder_configs_of_a_users_own_is_not_that_of_the_library(tmp_path):
    folder = tmp_path / "configs"
    (folder / "common").mkdir(parents=True)
    (folder / "common" / "mine.py").write_text("SEED = 5\n")
    (folder / "run.py").write_text(
        "from configs.common.mine import SEED\n"
        "from gcnet_jax.tasks.segmentation.config import default_config\n"
        "def get_config():\n    config = default_config()\n    config.seed = SEED\n"
        "    return config\n"
    )
    before = sys.modules.get("configs")
    for _ in range(2):
        assert config_from_argument(str(folder / "run.py")).seed == 5
        assert config_from_argument("fcn").seed == 0
    assert sys.modules.get("configs") is before


def test_a_file_that_ends_the_process_is_named_and_ends_nothing(tmp_path):
    with pytest.raises(InputError, match=r"run\.py: SystemExit"):
        read_config(write(tmp_path, "raise SystemExit(0)"))


def test_what_a_run_in_a_bucket_has_written_is_read_there_and_code_is_not(bucket):
    plain = json.dumps({"config": to_plain(default_config())})
    (bucket / "run" / "checkpoints" / "3" / "metadata" / "metadata").write_text(plain)
    (bucket / "run" / "config.json").write_text(plain)
    (bucket / "run" / "config.py").write_text("raise SystemExit")
    for place in ("run/config.json", "run/checkpoints/3"):
        assert config_from_argument(f"{bucket}/{place}") == default_config()
    with pytest.raises(InputError, match="is in a bucket; expected a local file of Python code"):
        config_from_argument(f"{bucket}/run/config.py")


def test_a_checkpoint_whose_metadata_are_damaged_is_named(tmp_path):
    (tmp_path / "3" / "metadata").mkdir(parents=True)
    for content in ("", "[]", "{}", "[" * 100_000):
        (tmp_path / "3" / "metadata" / "metadata").write_text(content)
        with pytest.raises(InputError, match=f"^{tmp_path / '3'} is not a whole checkpoint "):
            read_config(tmp_path / "3")
