import pytest

from srcx import errors


def test_the_former_name_of_the_error_still_works_with_a_warning():
    with pytest.warns(DeprecationWarning, match="BridgeError is now BasicSRError"):
        assert errors.BridgeError is errors.BasicSRError


def test_other_names_are_unknown():
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = errors.Nonsense
