import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from srcx.imaging import png
from srcx.imaging.decode import decode_image
from srcx.imaging.extras import Extras
from srcx.imaging.png import write_png

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4]))


@given(
    image=st.tuples(SHAPES, st.sampled_from([np.uint8, np.uint16])).flatmap(
        lambda kind: arrays(kind[1], kind[0])
    ),
    strip_bytes=st.sampled_from([1, 40, 1 << 22]),
)
def test_what_is_written_is_read_again_whatever_the_strips(tmp_path_factory, image, strip_bytes):
    image = image[..., 0] if image.shape[2] == 1 else image
    path = tmp_path_factory.getbasetemp() / "strips.png"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(png, "STRIP_BYTES", strip_bytes)
        write_png(path, image)
    np.testing.assert_array_equal(decode_image(path.read_bytes(), "png"), image)


def test_the_profile_and_the_exif_data_are_where_others_find_them(tmp_path):
    write_png(tmp_path / "x.png", np.zeros((2, 3, 3), np.uint8), Extras(b"profile", b"MM\0*\0\0\0\x08\0\0"))
    image = Image.open(io.BytesIO((tmp_path / "x.png").read_bytes()))
    assert image.info["icc_profile"] == b"profile"
    assert image.info["exif"].endswith(b"MM\0*\0\0\0\x08\0\0")


def test_photographs_are_smaller_than_opencvs(tmp_path, rng):
    cv2 = pytest.importorskip("cv2")
    smooth = np.cumsum(rng.normal(size=(200, 200, 3)), axis=0).clip(-100, 100) + 128
    image = smooth.astype(np.uint8)
    write_png(tmp_path / "x.png", image)
    assert (tmp_path / "x.png").stat().st_size < len(cv2.imencode(".png", image)[1])
