"""The training transforms, and a batch of their results, beside mmdetection's.

Pixels, masks and classes are equal. Corners of boxes differ by float32's rounding, no more than
`_ROUNDING` pixels, and normalised pixels by that of a division.
"""

import jax
import numpy as np
import pytest

from gcnet_jax.data import encode_png, rescaled_size
from gcnet_jax.ops import normalize_images
from gcnet_jax.tasks.detection.data import RandomTransform, counts_of
from gcnet_jax.tasks.detection.data.records import joined_masks
from tests.reference import golden_files

CASES = golden_files.cases("detection/det_transforms")
_ROUNDING = 2e-5
_SHAPE = (128, 128)  # of the reference's batch of both


def record_of(name, theirs):
    """What is stored of a case, whose third annotation is a crowd."""
    pixels, corners = theirs[f"{name}|image"], theirs[f"{name}|boxes_in"]
    masks = np.unpackbits(theirs[f"{name}|masks_in"], axis=-1)[..., : pixels.shape[1]]
    return {
        "image": encode_png(pixels[..., ::-1]),  # theirs are BGR
        "image_id": np.int64(1),
        "name": name.encode(),
        "size": np.array(pixels.shape[:2], np.int32),
        "boxes": np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1),
        "classes": np.array([0, 1, 2], np.int32),
        "crowds": np.array([False, False, True]),
        "areas": masks.sum((1, 2)).astype(np.float32),
        "has_masks": np.True_,
        "masks": joined_masks(tuple(map(counts_of, masks))),
    }


def sample_of(name, theirs):
    case = CASES[name]
    transform = RandomTransform(
        scales=[tuple(case["scale"])],
        flip_probability=float(case["flip"]),
        shapes=[_SHAPE],
        capacity=4,
        mean_objects=2,
        num_classes=3,
        with_masks=True,
    )
    sample = transform(record_of(name, theirs), 0, np.random.default_rng(0))
    batch = transform.whole(transform.batch([sample]))
    return {key: value[0] for key, value in batch.items()}


@pytest.mark.parametrize("name", ["transform0", "transform1"])
def test_an_image_and_its_objects_are_resized_and_mirrored(name, golden):
    theirs = golden("detection/det_transforms")
    sample = sample_of(name, theirs)
    height, width = CASES[name]["img_shape"]
    assert sample["size"].tolist() == [height, width]
    image = sample["image"][:height, :width]
    np.testing.assert_array_equal(image[::3, ::3, ::-1], theirs[f"{name}|resized_s3"])
    assert not sample["image"][height:].any()
    assert not sample["image"][:, width:].any()
    boxes, labels = theirs[f"{name}|boxes"], theirs[f"{name}|labels"]
    assert sample["valid"].tolist() == [True] * len(boxes) + [False] * (4 - len(boxes))
    np.testing.assert_allclose(sample["boxes"][: len(boxes)], boxes, rtol=0, atol=_ROUNDING)
    np.testing.assert_array_equal(sample["classes"][: len(boxes)], labels)
    masks = theirs[f"{name}|masks"]
    ours = sample["masks"][: len(boxes)]
    np.testing.assert_array_equal(ours[:, :height, : masks.shape[2]], masks)
    assert np.unpackbits(ours).sum() == np.unpackbits(masks).sum()  # nothing lies beyond


def test_both_images_become_the_references_batch(golden):
    theirs = golden("detection/det_transforms")
    samples = [sample_of(name, theirs) for name in ("transform0", "transform1")]
    images, sizes = (np.stack([sample[key] for sample in samples]) for key in ("image", "size"))
    batch = np.moveaxis(jax.jit(normalize_images)(images, sizes), -1, 1)
    assert batch.shape == tuple(CASES["batch"]["shape"])
    np.testing.assert_allclose(batch[..., ::3, ::3], theirs["batch|inputs_s3"], rtol=0, atol=1e-6)


def test_sizes_that_fit_1333x800(golden):
    theirs = golden("detection/det_transforms")
    for size, (width, height) in zip(
        theirs["rescale_size|hw"].tolist(), theirs["rescale_size|to_1333x800_wh"], strict=True
    ):
        assert rescaled_size(tuple(size), (1333, 800)) == (height, width)
