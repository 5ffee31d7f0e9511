"""Cells that conformance.py leaves out of what it compares for `remapdis`, and nothing else:

- ties: the last neighbour that counts is as far away as the first that does not, so which one a
  program takes is arbitrary;
- cells beyond the last row of the source: there CDO does not find the near cells across the pole
  (its results are up to 2 K from the mean over the four nearest, ours 0.01 K: weights are by the
  chord).
"""

import netCDF4
import numpy as np

NEIGHBOURS = 4
# Of squared chords on the unit sphere: two programs round them differently.
TOLERANCE = 1e-12


def of(source, result):
    """Which cells of the file `result` (rows by columns) are tied, and which lie beyond the last
    row of `source`."""
    with netCDF4.Dataset(source) as data:
        near = points(data)
        last = np.abs(data["lat"][:]).max()
    with netCDF4.Dataset(result) as data:
        targets = points(data)
        shape = (data["lat"].size, data["lon"].size)
        beyond = np.abs(np.asarray(data["lat"][:])) > last
    squared = np.sort(2 - 2 * targets @ near.T, axis=1)
    # Where a cell lies on another it is that one alone.
    apart = squared[:, 0] > TOLERANCE
    tied = squared[:, NEIGHBOURS] - squared[:, NEIGHBOURS - 1] < TOLERANCE
    return (tied & apart).reshape(shape), np.broadcast_to(beyond[:, None], shape)


def points(data):
    """Unit vectors of all cells of a grid of longitudes by latitudes."""
    lat, lon = np.meshgrid(np.radians(data["lat"][:]), np.radians(data["lon"][:]), indexing="ij")
    vectors = [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]
    return np.stack([np.asarray(part).ravel() for part in vectors], 1)
