"""Networks with weights, wherever these are from: own checkpoints, `.pth` files, published."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar, get_args

import jax
from etils import epath
from flax import nnx
from ml_collections import ConfigDict

from gcnet_jax.config import (
    Schema,
    SchemaOf,
    architecture,
    check_config,
    differences,
    from_plain,
    named_code,
    to_plain,
    versions,
)
from gcnet_jax.errors import InputError, did_you_mean
from gcnet_jax.files import as_path
from gcnet_jax.interop import (
    ForeignFormat,
    StateDict,
    check_weights,
    fetch_published,
    published_files,
    read_torch_checkpoint,
)
from gcnet_jax.task import Meaning, PretrainedModel, Task
from gcnet_jax.training.checkpoint_files import read_metadata, restore_variables, save_variables

InitPart = Literal["backbone", "model"]
M = TypeVar("M", bound=Meaning)


def load_pretrained(
    task: Task,
    config: ConfigDict,
    checkpoint: str | os.PathLike,
    *,
    allow_partial: bool = False,
) -> PretrainedModel:
    """Builds the config's network with the weights of a checkpoint.

    Args:
        task: of the run.
        config: of the run.
        checkpoint: a folder `<workdir>/checkpoints/<step>`; a `.pth` file of OpenMMLab; or
            `"published"`: the published weights of the config's `published_run`, which are fetched
            on first use.
        allow_partial: whether to take what fits of a `.pth` file of another model.

    Raises:
        InputError: the checkpoint is not there, not whole, not this config's model, or has weights
            that are not finite.
    """
    check_config(config, task.schema)
    path = _locate(config, checkpoint)
    if path.is_dir():
        return _load_own(task, config, path)
    return load_foreign(
        path,
        config,
        task.foreign,
        task.build_model,
        task.meaning_of_data,
        allow_partial=allow_partial,
    )


def load_foreign(
    path: epath.Path,
    config: ConfigDict,
    form: ForeignFormat[M],
    build_model: Callable[[ConfigDict, M], nnx.Module],
    meaning_of_data: Callable[[ConfigDict], M],
    *,
    allow_partial: bool = False,
) -> PretrainedModel[M]:
    """Builds a config's network with the weights of a `.pth` file.

    Args:
        path: of the file.
        config: of the run.
        form: how foreign libraries hold such networks.
        build_model: the network of a config with outputs of a meaning.
        meaning_of_data: what outputs mean according to the config, if the file says nothing.
        allow_partial: as for `load_pretrained`.

    Raises:
        InputError: as `load_pretrained`.
    """
    foreign = read_torch_checkpoint(path)
    try:
        meaning = form.meaning_from_meta(foreign.meta)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if meaning is None and not config.data.name:
        raise InputError(f"{path} names no classes, and neither does the config: set data.name")
    known = meaning_of_data(config) if meaning is None else meaning
    # What is left needs its initial weights.
    model = (
        build_model(config, known)
        if allow_partial
        else nnx.eval_shape(lambda: build_model(config, known))
    )
    try:
        left = form.import_state_dict(model, foreign.state_dict, allow_partial=allow_partial)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    model.eval()
    return PretrainedModel(model, known, path, left)


def initialize(task: Task, model: nnx.Module, config: ConfigDict, meaning: Meaning) -> str:
    """Writes the weights that `training.init_from` names into a new model.

    Args:
        task: of the run.
        model: of `config`, with fresh weights; it has a `backbone`.
        config: of the run. `training.init_part` is `backbone`: the backbone alone, from a file that
            holds just that (OpenMMLab's or torchvision's) or a whole network, which need not
            have what is added to the backbone here, such as context blocks; or `model`:
            everything, but the classifiers only if the checkpoint has the same classes.
        meaning: of the run.

    Returns:
        One line on what was done.

    Raises:
        InputError: as `load_pretrained`; or the checkpoint's network has a context block of
            somebody's own that is not in `config`.
    """
    part, checkpoint = config.training.init_part, config.training.init_from
    if part not in get_args(InitPart):
        raise InputError(f"training.init_part is {part!r}; expected one of {get_args(InitPart)}")
    path = _locate(config, checkpoint)
    try:
        state_dict, theirs = _state_dict(task, path, config)
        if part == "backbone":
            backbone: Any = getattr(model, "backbone")  # noqa: B009 which modules have by custom
            given, added = _backbone_entries(state_dict), task.foreign.added_entries(backbone)
            task.foreign.import_state_dict(backbone, given, may_lack=added)
            fresh = set(added) - given.keys()
            return f"backbone from {path}{', what is added to it from scratch' if fresh else ''}"
        if theirs is not None and meaning.means_same(theirs):
            task.foreign.import_state_dict(model, state_dict)
            return f"all weights from {path}"
        task.foreign.import_state_dict(model, state_dict, leave_out=task.foreign.outputs)
        why = "names no classes" if theirs is None else "has other classes"
        return f"weights from {path} without the classifiers, for it {why}"
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def run_metadata(config: ConfigDict, meaning: Meaning) -> dict[str, Any]:
    """What describes a run in its checkpoints and its workdir, as plain JSON."""
    return {
        "config": to_plain(config),
        **meaning.to_metadata(),
        "versions": versions(),
    }


def save_model(
    folder: str | os.PathLike, model: nnx.Module, config: ConfigDict, meaning: Meaning
) -> None:
    """Writes a checkpoint folder that `load_pretrained` and the commands take.

    Raises:
        InputError: the folder is there already.
    """
    save_variables(folder, _variables(model), run_metadata(config, meaning))


def saved_config(checkpoint: str | os.PathLike, schema_of: SchemaOf) -> ConfigDict:
    """The config that a checkpoint was written with, from its metadata.

    Args:
        checkpoint: a folder `<workdir>/checkpoints/<step>`.
        schema_of: finds the schema of the config by its task.

    Raises:
        InputError: it is no whole checkpoint, its config is not one of this version, or names code
            by its module: a checkpoint must not choose code to run.
    """
    folder = as_path(checkpoint)
    return config_in(folder, _metadata(folder), schema_of)


def config_in(source: epath.Path, metadata: Mapping[str, Any], schema_of: SchemaOf) -> ConfigDict:
    """The config in the metadata of a checkpoint or of an exported file.

    Args:
        source: the folder or file, for messages.
        metadata: with the entry `config`.
        schema_of: the schema for a plain config.

    Raises:
        InputError: it is no config of this version of the library.
    """
    try:
        schema = schema_of(metadata["config"])
        config = from_plain(metadata["config"], schema)
        check_config(config, schema)
    except InputError as error:
        raise InputError(
            f"{source} has a config that is none of this version of the library: {error}; name a "
            "config that fits"
        ) from error
    _check_code(source, config, schema.default(), schema)
    return config


def _locate(config: ConfigDict, checkpoint: str | os.PathLike) -> epath.Path:
    """The file or folder that a name of a checkpoint means."""
    name = checkpoint if isinstance(checkpoint, str) else os.fspath(as_path(checkpoint))
    if name == "published":
        if not config.published_run:
            raise InputError(
                "this config is no published run: its published_run is empty; those of "
                "configs/gcnet and configs/coco are"
            )
        return epath.Path(fetch_published(config.published_run))
    published = published_files()
    if name in published:  # a folder of that name would be given as ./NAME
        return epath.Path(fetch_published(name))
    path = as_path(name)
    if not path.exists():
        meant = did_you_mean(name, published)
        if not meant and path.name == name:
            meant = f", and no published weights of that name; there are: {', '.join(published)}"
        raise InputError(f"there is no checkpoint {path}{meant}")
    return path


def _load_own(task: Task, config: ConfigDict, folder: epath.Path) -> PretrainedModel:
    saved = _metadata(folder)
    meaning = _meaning(task, folder, saved)
    theirs = to_plain(_saved_model(task, folder, saved).model)
    if found := differences(architecture(theirs), architecture(to_plain(config.model))):
        raise InputError(f"{folder} holds another model than the config: {'; '.join(found)}")
    model = _abstract_model(task, config, meaning)
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    targets = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), _variables(model)
    )
    restored = restore_variables(folder, targets)
    arrays = jax.tree.leaves_with_path(restored)
    try:
        check_weights(
            {jax.tree_util.keystr(path, simple=True, separator="."): x for path, x in arrays}
        )
    except InputError as error:
        raise InputError(f"{folder}: {error}") from error
    nnx.update(model, restored["params"], restored["statistics"])
    model.eval()
    return PretrainedModel(model, meaning, folder)


def _state_dict(
    task: Task, path: epath.Path, config: ConfigDict
) -> tuple[StateDict, Meaning | None]:
    """All arrays of a checkpoint of any kind by foreign names, and what its outputs mean.

    Args:
        task: of the run.
        path: of the checkpoint.
        config: of the run, which the user has named.
    """
    if not path.is_dir():
        foreign = read_torch_checkpoint(path)
        return foreign.state_dict, task.foreign.meaning_from_meta(foreign.meta)
    theirs = _saved_model(task, path, _metadata(path))
    _check_code(path, theirs, config, task.schema)
    pretrained = _load_own(task, theirs, path)
    return task.foreign.export_state_dict(pretrained.model), pretrained.meaning


def _saved_model(task: Task, folder: epath.Path, saved: dict) -> ConfigDict:
    """A config with the model that a checkpoint's metadata describes, and defaults beside it."""
    try:
        theirs = from_plain({"model": saved["config"]["model"]}, task.schema)
        check_config(theirs, task.schema)
    except InputError as error:
        raise InputError(
            f"{folder} describes no model of this version of the library: {error}"
        ) from error
    return theirs


def _check_code(folder: epath.Path, theirs: ConfigDict, config: ConfigDict, schema: Schema) -> None:
    """Raises InputError if building the model of a checkpoint would import a stranger's choice.

    To build a block of a user's own is to import its module. Which modules to import is said by the
    config that the user has named; metadata chooses among the blocks of this library.
    """
    named = {value for _, value in named_code(config, schema)}
    for key, value in named_code(theirs, schema):
        if value not in named:
            raise InputError(
                f"{folder} has the context block {value!r} ({key}), whose code is not imported "
                "because a checkpoint says so; expected one of this library, or a block that the "
                "config names too"
            )


def _backbone_entries(state_dict: StateDict) -> StateDict:
    prefix = "backbone."
    inside = {k.removeprefix(prefix): x for k, x in state_dict.items() if k.startswith(prefix)}
    return inside or state_dict


def _metadata(folder: epath.Path) -> dict[str, Any]:
    with _damage_named(folder):
        saved = read_metadata(folder)
        architecture(saved["config"]["model"])
        return saved


def _meaning(task: Task, folder: epath.Path, saved: dict[str, Any]) -> Meaning:
    with _damage_named(folder):
        return task.meaning.from_metadata(saved)


@contextlib.contextmanager
def _damage_named(folder: epath.Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{folder} is not a whole checkpoint ({type(error).__name__}: {error})"
        ) from error


def _abstract_model(task: Task, config: ConfigDict, meaning: Meaning) -> nnx.Module:
    """The model without its arrays, which a checkpoint brings: nothing is initialised in vain."""
    return nnx.eval_shape(lambda: task.build_model(config, meaning))


def _variables(model: nnx.Module) -> dict:
    params, statistics = nnx.state(model, nnx.Param), nnx.state(model, nnx.BatchStat)
    return {"params": nnx.to_pure_dict(params), "statistics": nnx.to_pure_dict(statistics)}
