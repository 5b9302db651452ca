import re
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from srcx.benchmarks.verdict import Verdict
from srcx.benchmarks.verify import sets_in, verify
from srcx.errors import DataError
from srcx.imaging import imresize, read_image, write_image


def verdict(folder):
    return verify(folder, lambda *_: None)


def change(folder, pattern, how):
    """Replace each image of `folder` that fits by what `how` makes of it and its name."""
    for path in sorted(folder.glob(pattern)):
        image = how(read_image(path), path)
        path.unlink()
        Image.fromarray(image).save(path, compress_level=1)  # other bytes than OpenCV writes


def shrink_anew(folder, how):
    change(folder, "LR_bicubic/X4/*", lambda _, path: how(gt_of(folder, path)))


def gt_of(folder, path):
    return read_image(folder / "HR" / f"{path.stem.removesuffix('x4')}.png")


def quarter(gt):
    return gt.shape[1] // 4, gt.shape[0] // 4


def test_the_published_files_are_recognised(copy):
    words = "Tiny: HR: the published files; LR x4: the published files"
    assert verdict(copy) == Verdict(copy, words, ())


def test_names_do_not_matter_only_what_the_files_hold(copy, published):
    assert verdict(published.parent).sentence == verdict(copy).sentence
    shutil.move(copy, copy.with_name("whatever"))
    for path in sorted((copy.with_name("whatever")).rglob("one*.png")):
        path.rename(path.with_name(path.name.replace("one", "uno")))
    assert verdict(copy.with_name("whatever")).sentence == verdict(published.parent).sentence


def test_equal_pixels_in_other_files_are_recognised(copy):
    change(copy, "**/*.png", lambda image, _: image)
    found = verdict(copy)
    assert found.problems == ()
    assert found.sentence == (
        "Tiny: HR: the published images, saved anew (equal pixels); "
        "LR x4: the published images, saved anew (equal pixels)"
    )


def test_basicsr_s_copy_is_recognised(copy):
    cut12 = copy / "GTmod12"
    (copy / "HR").rename(cut12)
    change(copy, "GTmod12/*", lambda gt, _: gt[: gt.shape[0] // 12 * 12, : gt.shape[1] // 12 * 12])
    (copy / "LR_bicubic/X4").rename(copy / "LRbicx4")
    for path in list((copy / "LRbicx4").iterdir()):
        small = imresize(read_image(cut12 / f"{path.stem.removesuffix('x4')}.png"), scale=0.25)
        path.unlink()
        write_image(path.with_name(path.name.replace("x4", "")), small)
    found = verdict(copy)
    assert found.problems == ()
    assert "HR: the published images cut to multiples of 12, as BasicSR's GTmod12" in found.sentence
    assert "LR x4: made by MATLAB's imresize of today, borders mirrored (close)" in found.sentence


def test_originals_before_the_cut_are_recognised(copy):
    change(copy, "HR/*", lambda gt, _: np.pad(gt, ((0, 1), (0, 2), (0, 0))[: gt.ndim]))
    found = verdict(copy)
    assert "HR: the published images before they were cut to multiples of 4" in found.sentence
    assert "LR x4: made by MATLAB's imresize, borders repeated" in found.sentence
    assert found.problems == ()


@pytest.mark.parametrize(
    ("words", "how"),
    [
        ("OpenCV's INTER_CUBIC", lambda gt: cv2.resize(gt, quarter(gt), interpolation=cv2.INTER_CUBIC)),
        ("OpenCV's INTER_AREA", lambda gt: cv2.resize(gt, quarter(gt), interpolation=cv2.INTER_AREA)),
        (
            "Pillow's BICUBIC",
            lambda gt: np.asarray(Image.fromarray(gt).resize(quarter(gt), Image.Resampling.BICUBIC)),
        ),
        ("taking every nth pixel", lambda gt: gt[::4, ::4]),
    ],
)
def test_a_wrong_method_is_named(copy, words, how):
    shrink_anew(copy, how)
    found = verdict(copy)
    assert re.search(f"LR x4: made by {words}", found.sentence)
    (problem,) = found.problems
    assert problem.startswith(
        f"{copy}/LR_bicubic/X4: 3 images (greyx4.png, onex4.png, twox4.png) made by {words}"
    )
    assert "make correct ones with 'srcx data prepare lr'" in problem


def test_rounding_once_is_close_and_said(copy):
    shrink_anew(
        copy, lambda gt: np.floor(imresize(gt.astype(float), scale=0.25).clip(0, 255) + 0.5).astype(np.uint8)
    )
    found = verdict(copy)
    assert "LR x4: made by MATLAB's weights rounded once, borders mirrored (close)" in found.sentence
    assert found.problems == ()


def test_a_mixture_is_counted_and_only_the_wrong_ones_are_a_problem(copy):
    change(copy, "LR_bicubic/X4/two*", lambda lq, path: gt_of(copy, path)[::4, ::4])
    found = verdict(copy)
    assert "LR x4: 2 the published files, 1 made by taking every nth pixel" in found.sentence
    assert len(found.problems) == 1
    assert "(twox4.png)" in found.problems[0]


def test_lossy_and_foreign_images_are_distinguished(copy):
    change(copy, "LR_bicubic/X4/one*", lambda lq, _: np.clip(lq.astype(int) + 3, 0, 255).astype(np.uint8))
    change(copy, "LR_bicubic/X4/two*", lambda lq, _: 255 - lq)
    lossy, foreign = sorted(verdict(copy).problems)
    assert "(onex4.png) changed, or saved with loss" in lossy
    assert "(twox4.png) show something other than their ground truth" in foreign


def test_all_that_is_wrong_is_said_at_once(copy):
    (copy / "HR/one.png").write_bytes((copy / "HR/one.png").read_bytes()[:300])
    change(copy, "HR/two*", lambda gt, _: np.clip(gt.astype(int) + 1, 0, 255).astype(np.uint8))
    (copy / "HR/grey.png").unlink()
    (copy / "LR_bicubic/X4/onex4.png").unlink()
    found = verdict(copy)
    assert "Tiny: HR: 1 damaged, 1 not published" in found.sentence
    text = "\n".join(found.problems)
    for words in (
        "HR/one.png: is damaged or cut off",
        "HR: 1 image changed, saved with loss, or not of Tiny: two.png",
        "HR: 1 image of 3 not here: grey",
        "X4: has no image for 1 of 2",
        "X4: 1 image without ground truth",
    ):
        assert words in text


def test_a_repeated_image_is_reported(copy):
    shutil.copy(copy / "HR/one.png", copy / "HR/again.png")
    assert any("HR: 1 image more than once: one" in problem for problem in verdict(copy).problems)


def test_a_grey_image_saved_as_rgb_is_reported(copy):
    change(copy, "HR/grey*", lambda gt, _: np.stack([gt] * 3, axis=2))
    (problem,) = verdict(copy).problems
    assert "grey.png: is a grey image saved as RGB" in problem


def test_images_of_the_wrong_size_are_reported(copy):
    change(copy, "LR_bicubic/X4/one*", lambda lq, _: lq[:-1])
    (problem,) = verdict(copy).problems
    assert problem.endswith("onex4.png: is 15 x 11 pixels, and 1/4 of its ground truth is 15 x 12")


def test_selfexsr_s_ground_truth_of_each_scale_is_verified_separately(published, tiny):
    folder = published.parent
    for path in list(published.glob("*_HR.png")):
        gt = np.pad(read_image(path), ((0, 2), (0, 0), (0, 0))[: read_image(path).ndim], "edge")
        gt = gt[: gt.shape[0] // 3 * 3, : gt.shape[1] // 3 * 3]
        (folder / "image_SRF_3").mkdir(exist_ok=True)
        target = folder / "image_SRF_3" / path.name.replace("SRF_4", "SRF_3")
        write_image(target, gt)
        write_image(
            target.with_name(target.name.replace("HR", "LR")), imresize(gt, scale=1 / 3, border="replicate")
        )
    found = verdict(folder)
    assert found.problems == ()
    assert found.sentence == (
        "Tiny: image_SRF_4: HR: the published files; LR x4: the published files; "
        "image_SRF_3: HR: 3 images; LR x3: made by MATLAB's imresize, borders repeated"
    )


def test_an_unknown_set_is_verified_by_its_low_resolution(copy):
    folder = copy.rename(copy.with_name("Mine"))
    change(folder, "HR/*", lambda gt, _: 255 - gt)
    shrink_anew(folder, lambda gt: imresize(gt, scale=0.25, border="replicate"))
    found = verdict(folder)
    assert found.sentence == (
        "an unknown set: HR: 3 images; LR x4: made by MATLAB's imresize, borders repeated"
    )
    assert found.problems == ()


def test_a_set_of_unknown_digests_is_verified_by_number_and_low_resolution(copy):
    folder = copy.rename(copy.with_name("urban100"))
    change(folder, "HR/*", lambda gt, _: 255 - gt)
    shrink_anew(folder, lambda gt: imresize(gt, scale=0.25, border="replicate"))
    found = verdict(folder)
    assert found.sentence.startswith(
        "Urban100: HR: 3 images, whose published digests are not known; LR x4: made by"
    )
    assert found.problems == (f"{folder}/HR: holds 3 images, and Urban100 has 100",)


def test_a_set_without_low_resolution_is_right(copy):
    shutil.rmtree(copy / "LR_bicubic")
    assert verdict(copy).sentence.endswith("no LR; srcx benchmark makes it")
    assert verdict(copy).problems == ()


def test_an_empty_set_is_wrong(tmp_path):
    (tmp_path / "Set5/HR").mkdir(parents=True)
    assert verdict(tmp_path / "Set5").problems == (f"{tmp_path}/Set5/HR: there are no images in this folder",)


def test_sets_are_found_in_a_folder_of_them_and_in_their_own(copy):
    assert sets_in(copy.parent) == [copy]
    assert sets_in(copy) == [copy]
    with pytest.raises(DataError, match="holds no set"):
        sets_in(copy / "HR")
    with pytest.raises(DataError, match="no such folder"):
        sets_in(copy / "gone")
