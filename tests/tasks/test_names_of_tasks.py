"""A config's task is one of the library, a module of somebody's own, or refused in one line."""

import sys

import pytest
from ml_collections import config_dict

from gcnet_jax.errors import InputError
from gcnet_jax.tasks import TASKS, schema_of, task_of
from gcnet_jax.tasks.segmentation.config import default_config


def config_of(task):
    config = default_config().unlock()
    with config.ignore_type():
        config.task = task
    return config


def refusal(function, task):
    with pytest.raises(InputError) as raised:
        function(config_of(task))
    message = str(raised.value)
    assert "task" in message
    assert message.isprintable(), "one line, and nothing that a terminal obeys"
    assert len(message) < 500
    return message


@pytest.mark.parametrize("function", [schema_of, task_of])
@pytest.mark.parametrize(
    "task",
    [
        *("", ".", "..", "..x", ".x", "x.", "a..b", "../..", "a/b", "a/b.c", "C:\\a.b", "~.x"),
        *(" . ", "a\n.b", "a.b\n", "\0", "\0.x", "x.\0", "\x1b[31m.x", "\ud800.x", "a.\u202e"),
        *("x" * 5000, None, 3, 1.5, 10**5000, b"a.b", ("a.b",), ["a.b"], {"a": 1}),
    ],
    ids=lambda value: ascii(value)[:20] if isinstance(value, str) else type(value).__name__,
)
def test_what_cannot_be_the_name_of_a_module_is_no_task(function, task):
    assert "there is no task" in refusal(function, task)


@pytest.mark.parametrize(
    "task",
    ["no_such_package.task", "1.5", "\xe4.\xf6", "os.path", "x." * 300 + "x"],
    ids=lambda name: ascii(name)[:20],
)
def test_what_is_not_there_cannot_be_imported(task):
    assert "cannot be imported" in refusal(schema_of, task)


def test_a_name_that_can_be_no_modules_runs_none_on_the_way():
    sys.modules.pop("this", None)  # of the standard library; prints when it is imported
    refusal(schema_of, "this.")
    assert "this" not in sys.modules


def test_a_task_that_nobody_has_filled_in_is_named():
    assert "task has no value" in refusal(schema_of, config_dict.required_placeholder(str))


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("SCHEMA = 3", "own_task.inner.config has no SCHEMA"),
        ("pass", "own_task.inner.config has no SCHEMA"),
        ("def", "SyntaxError"),
        ("undefined_name", "NameError"),
        ("raise OSError('two\\nlines \\x1b[31m' + 'x' * 1000)", "OSError: two lines"),
    ],
)
def test_code_of_ones_own_that_fails_or_is_no_task_is_named(code, says, tmp_path, monkeypatch):
    folder = tmp_path / "own_task" / "inner"
    folder.mkdir(parents=True)
    (folder / "config.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "own_task"]:
        monkeypatch.delitem(sys.modules, name)
    message = refusal(schema_of, "own_task.inner")
    assert "own_task.inner" in message
    assert says in message


@pytest.mark.parametrize("name", TASKS)
def test_a_task_of_the_library_is_found_by_its_name(name):
    assert schema_of(config_of(name)).default().task == name
