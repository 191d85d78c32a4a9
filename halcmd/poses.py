"""Orientations: RELION's Euler angles and the matrices that they stand for."""

import warnings

import numpy as np
from scipy.spatial.transform import Rotation


def euler_matrices(angles: np.ndarray) -> np.ndarray:
    """Matrices A with r_particle = A r_reference for **xyz** columns, shape (n, 3, 3), float64.

    Parameters
    ----------
    angles : ndarray, shape (n, 3)
        rlnAngleRot, rlnAngleTilt, rlnAnglePsi in degrees.

    References
    ----------
    RELION, src/euler.cpp: A is the inverse of the intrinsic rotation by rot about z, tilt about y,
    psi about z.
    """
    return np.asarray(Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix())


def euler_angles(matrices: np.ndarray) -> np.ndarray:
    """rot, tilt, psi in degrees, shape (n, 3), float64, of matrices as ``euler_matrices`` gives."""
    inverse = Rotation.from_matrix(np.swapaxes(matrices, -1, -2))
    with warnings.catch_warnings():  # where tilt is 0 only rot + psi counts; scipy warns
        warnings.simplefilter("ignore", UserWarning)
        return np.asarray(inverse.as_euler("ZYZ", degrees=True))
