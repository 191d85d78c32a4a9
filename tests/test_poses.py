import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from halcmd.poses import euler_angles, euler_matrices

ANGLE = st.floats(-360, 360)


def relion(rot: float, tilt: float, psi: float) -> list[list[float]]:
    """The matrix as RELION writes it out, src/euler.cpp."""
    (ca, cb, cg), (sa, sb, sg) = (f(np.deg2rad([rot, tilt, psi])) for f in (np.cos, np.sin))
    return [
        [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
        [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
        [sb * ca, sb * sa, cb],
    ]


@given(ANGLE, ANGLE, ANGLE)
def test_matrices_are_those_of_relion(rot, tilt, psi):
    assert euler_matrices(np.array([[rot, tilt, psi]]))[0] == pytest.approx(
        np.array(relion(rot, tilt, psi)), abs=1e-9
    )


@given(ANGLE, st.sampled_from([0.0, 1e-12, 30.0, 90.0, 180.0, 300.0]), ANGLE)
def test_angles_of_a_matrix_give_it_back(rot, tilt, psi):
    matrix = euler_matrices(np.array([[rot, tilt, psi]]))
    assert euler_matrices(euler_angles(matrix)) == pytest.approx(matrix, abs=1e-6)
