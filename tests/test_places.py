"""Places of recordings in what is kept of a data set."""

import numpy as np
import pytest

from ecgjax.data.places import places


def test_places_are_those_of_a_list():
    kept = np.array([3, 5, 8, 13])
    wanted = np.array([[13, 3], [5, 5]])
    expected = [[kept.tolist().index(index) for index in row] for row in wanted]
    np.testing.assert_array_equal(places(kept, wanted), expected)
    assert places(kept, np.array([], int)).shape == (0,)


@pytest.mark.parametrize("absent", [0, 4, 14])
def test_recording_that_is_not_kept_is_named(absent):
    with pytest.raises(KeyError, match=f"recording {absent} is not kept"):
        places(np.array([3, 5, 8, 13]), np.array([5, absent]))
