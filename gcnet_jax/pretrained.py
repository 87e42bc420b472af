"""Models with weights, wherever the weights come from: own checkpoints, `.pth` files, published."""

import dataclasses
import os
from typing import Literal, get_args

import jax
from etils import epath
from flax import nnx
from ml_collections import ConfigDict

from gcnet_jax.config import (
    architecture,
    as_config,
    check_config,
    default_config,
    differences,
    from_plain,
    to_plain,
    versions,
)
from gcnet_jax.errors import InputError, did_you_mean
from gcnet_jax.files import as_path
from gcnet_jax.interop import (
    CLASSIFIERS,
    Mismatch,
    StateDict,
    check_weights,
    context_block_entries,
    export_state_dict,
    fetch_published,
    import_state_dict,
    published_files,
    read_torch_checkpoint,
)
from gcnet_jax.models import CONTEXT_BLOCKS, Segmentor, build_model
from gcnet_jax.tasks.segmentation.data import DatasetClasses, dataset_classes
from gcnet_jax.training import read_metadata, restore_variables, save_variables

InitPart = Literal["backbone", "model"]


@dataclasses.dataclass(frozen=True)
class PretrainedModel:
    """A model with the weights of a checkpoint, in evaluation mode.

    Attributes:
        model: the segmentor.
        classes: what its logits mean.
        source: the file or folder that the weights are from.
        left: what differed and was left as initialised; empty unless that was allowed.
    """

    model: Segmentor
    classes: DatasetClasses
    source: epath.Path
    left: Mismatch


def load_model(config: ConfigDict | str | os.PathLike, checkpoint: str | os.PathLike) -> Segmentor:
    """A segmentor with the weights of a checkpoint, in evaluation mode.

    Args:
        config: a config, the name of one of the library's, or the path of its file.
        checkpoint: a folder `<workdir>/checkpoints/<step>`; a `.pth` file of OpenMMLab; or
            `"published"`: the published weights of the config's `published_run`, which are fetched
            on first use.

    Raises:
        InputError: the checkpoint is not there, not whole, not this config's model, or has weights
            that are not finite.
    """
    return load_pretrained(as_config(config), checkpoint).model


def load_pretrained(
    config: ConfigDict, checkpoint: str | os.PathLike, *, allow_partial: bool = False
) -> PretrainedModel:
    """As `load_model`, with what else is known of the checkpoint.

    Args:
        config: of the run.
        checkpoint: as for `load_model`.
        allow_partial: whether to take what fits of a `.pth` file of another model.
    """
    check_config(config)
    path = _locate(config, checkpoint)
    if path.is_dir():
        return _load_own(config, path)
    foreign = read_torch_checkpoint(path)
    if foreign.classes is None and not config.data.name:
        raise InputError(f"{path} names no classes, and neither does the config: set data.name")
    classes = foreign.classes or dataset_classes(config.data.name, config.data.data_dir)
    model = _abstract_model(config, classes.num_classes)
    if allow_partial:  # what is left needs its initial weights
        model = build_model(config.model, num_classes=classes.num_classes, seed=config.seed)
    try:
        left = import_state_dict(model, foreign.state_dict, allow_partial=allow_partial)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    model.eval()
    return PretrainedModel(model, classes, path, left)


def initialize(model: Segmentor, config: ConfigDict, classes: DatasetClasses) -> str:
    """Writes the weights that `training.init_from` names into a new model.

    Args:
        model: of `config`, with fresh weights.
        config: of the run. `training.init_part` is `backbone`: the backbone alone, from a file that
            holds just that (OpenMMLab's or torchvision's) or a whole segmentor, which need not
            have the context blocks that are in the backbone here; or `model`:
            everything, but the classifiers only if the checkpoint has the same classes.
        classes: of the run.

    Returns:
        One line on what was done.

    Raises:
        InputError: as `load_model`; or the checkpoint's network has a context block of somebody's
            own that is not in `config`.
    """
    part, checkpoint = config.training.init_part, config.training.init_from
    if part not in get_args(InitPart):
        raise InputError(f"training.init_part is {part!r}; expected one of {get_args(InitPart)}")
    path = _locate(config, checkpoint)
    state_dict, their_classes = _state_dict(path, config)
    try:
        if part == "backbone":
            given, added = _backbone_entries(state_dict), context_block_entries(model.backbone)
            import_state_dict(model.backbone, given, may_lack=added)
            fresh = added - given.keys()
            return f"backbone from {path}{', its context blocks from scratch' if fresh else ''}"
        if their_classes is not None and their_classes.names == classes.names:
            import_state_dict(model, state_dict)
            return f"all weights from {path}"
        import_state_dict(model, state_dict, leave_out=CLASSIFIERS)
        why = "names no classes" if their_classes is None else "has other classes"
        return f"weights from {path} without the classifiers, for it {why}"
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def save_model(
    folder: str | os.PathLike, model: Segmentor, config: ConfigDict, classes: DatasetClasses
) -> None:
    """Writes a checkpoint folder that `load_model` and the commands take.

    Raises:
        InputError: the folder is there already.
    """
    metadata = {
        "config": to_plain(config),
        "classes": classes.to_plain(),
        "versions": versions(),
    }
    save_variables(folder, _variables(model), metadata)


def saved_config(checkpoint: str | os.PathLike) -> ConfigDict:
    """The config that a checkpoint was written with, from its metadata.

    Args:
        checkpoint: a folder `<workdir>/checkpoints/<step>`.

    Raises:
        InputError: it is no whole checkpoint, its config is not one of this version, or has a
            context block by its module: a checkpoint must not choose code to run.
    """
    folder = as_path(checkpoint)
    saved, _ = _metadata(folder)
    try:
        config = from_plain(saved["config"])
        check_config(config)
    except InputError as error:
        raise InputError(
            f"{folder} has a config that is none of this version of the library: {error}; name a "
            "config that fits"
        ) from error
    _check_blocks(folder, config, default_config())
    return config


def _locate(config: ConfigDict, checkpoint: str | os.PathLike) -> epath.Path:
    """The file or folder that a name of a checkpoint means."""
    name = checkpoint if isinstance(checkpoint, str) else os.fspath(as_path(checkpoint))
    if name == "published":
        if not config.published_run:
            raise InputError(
                "this config is no published run: its published_run is empty; those of "
                "configs/gcnet are"
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


def _load_own(config: ConfigDict, folder: epath.Path) -> PretrainedModel:
    saved, classes = _metadata(folder)
    theirs = to_plain(_saved_config(folder, saved).model)
    if found := differences(architecture(theirs), architecture(to_plain(config.model))):
        raise InputError(f"{folder} holds another model than the config: {'; '.join(found)}")
    model = _abstract_model(config, classes.num_classes)
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
    return PretrainedModel(model, classes, folder, Mismatch((), (), ()))


def _state_dict(path: epath.Path, config: ConfigDict) -> tuple[StateDict, DatasetClasses | None]:
    """All arrays of a checkpoint of any kind by OpenMMLab's names, and its classes.

    Args:
        path: of the checkpoint.
        config: of the run, which the user has named.
    """
    if not path.is_dir():
        foreign = read_torch_checkpoint(path)
        return foreign.state_dict, foreign.classes
    saved, classes = _metadata(path)
    theirs = _saved_config(path, saved)
    _check_blocks(path, theirs, config)
    return export_state_dict(_load_own(theirs, path).model), classes


def _saved_config(folder: epath.Path, saved: dict) -> ConfigDict:
    """A config with the model that a checkpoint's metadata describes, and defaults beside it."""
    try:
        theirs = from_plain({"model": saved["config"]["model"]})
        check_config(theirs)
    except InputError as error:
        raise InputError(
            f"{folder} describes no model of this version of the library: {error}"
        ) from error
    return theirs


def _check_blocks(folder: epath.Path, theirs: ConfigDict, config: ConfigDict) -> None:
    """Raises InputError if building the model of a checkpoint would import a stranger's choice.

    To build a block is to import its module. Which modules to import is said by the config that the
    user has named; metadata chooses among the blocks of this library.
    """
    named = {"", *CONTEXT_BLOCKS, *_blocks(config)}
    for block in _blocks(theirs):
        if block not in named:
            raise InputError(
                f"{folder} has the context block {block!r}, whose code is not imported because a "
                f"checkpoint says so; expected one of {tuple(CONTEXT_BLOCKS)}, or a block that the "
                "config names too"
            )


def _blocks(config: ConfigDict) -> tuple[str, str]:
    """What the context blocks of a config's model are called."""
    return config.model.backbone.context.block, config.model.decode_head.context.block


def _backbone_entries(state_dict: StateDict) -> StateDict:
    prefix = "backbone."
    inside = {k.removeprefix(prefix): x for k, x in state_dict.items() if k.startswith(prefix)}
    return inside or state_dict


def _metadata(folder: epath.Path) -> tuple[dict, DatasetClasses]:
    try:
        saved = read_metadata(folder)
        architecture(saved["config"]["model"])
        return saved, DatasetClasses.from_plain(saved["classes"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{folder} is not a whole checkpoint ({type(error).__name__}: {error})"
        ) from error


def _abstract_model(config: ConfigDict, num_classes: int) -> Segmentor:
    """The model without its arrays, which a checkpoint brings: nothing is initialised in vain."""
    return nnx.eval_shape(lambda: build_model(config.model, num_classes=num_classes))


def _variables(model: Segmentor) -> dict:
    params, statistics = nnx.state(model, nnx.Param), nnx.state(model, nnx.BatchStat)
    return {"params": nnx.to_pure_dict(params), "statistics": nnx.to_pure_dict(statistics)}
