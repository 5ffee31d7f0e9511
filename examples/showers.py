"""Makes showers of electrons in a calorimeter, for train_gan.yaml: showers.npy (samples, depth,
height, width) with the energy in each cell, energies.npy (samples, 1), both in GeV.

The mean profile in depth is Longo's and Sestili's gamma distribution (1975), the lateral one
falls exponentially, and cells fluctuate as samples of a gamma distribution do.

    python showers.py [SAMPLES] [FOLDER]
"""

import pathlib
import sys

import numpy

DEPTH, HEIGHT, WIDTH = 16, 8, 8
CRITICAL_ENERGY_GEV = 0.01
LAYER_RADIATION_LENGTHS = 1.5


def shower(random, energy):
    scale = 0.5
    shape = 1 + scale * (numpy.log(energy / CRITICAL_ENERGY_GEV) - 0.5)
    depth = (numpy.arange(DEPTH) + 0.5) * LAYER_RADIATION_LENGTHS
    along = (scale * depth) ** (shape - 1) * numpy.exp(-scale * depth)
    y, x = numpy.meshgrid(numpy.arange(HEIGHT) - 3.5, numpy.arange(WIDTH) - 3.5, indexing="ij")
    across = numpy.exp(-numpy.hypot(y, x) / 1.5)
    mean = along[:, None, None] * across
    mean *= 0.95 * energy / mean.sum()
    return mean * random.gamma(4.0, 0.25, mean.shape)


samples = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
folder = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else ".")
random = numpy.random.default_rng(1)
energies = random.uniform(10, 200, samples)
showers = numpy.stack([shower(random, energy) for energy in energies])
numpy.save(folder / "showers.npy", showers.astype("<f4"))
numpy.save(folder / "energies.npy", energies[:, None].astype("<f4"))
