"""Makes the files that bench_arrays measures on: one field, stored in three ways.

Called by bench_arrays, once; the files stay in the cache. Seeded: the same bytes everywhere.
Beside each file lies an index for the C loop, which knows no HDF5: a line a piece, with its
first cell along time, latitude and longitude, its address and its size in bytes.

    arrays.py FOLDER DAYS LATITUDES LONGITUDES
"""
import os
import sys

import h5py
import netCDF4
import numpy as np

SEED = 20
YEAR = 365
# Noise in all 23 bits would not deflate at all; data that is archived has fewer.
STEPS_PER_KELVIN = 64
FILL = 1e20


def layouts(days, lats, lons):
    return {
        "slab": dict(zlib=True, complevel=4, shuffle=True, chunksizes=(1, lats, lons)),
        "block": dict(zlib=True, complevel=4, shuffle=True, chunksizes=(YEAR, lats // 4, lons // 4)),
        "raw": dict(contiguous=True),
    }


def create(path, days, lats, lons, storage):
    file = netCDF4.Dataset(path, "w")
    # A contiguous variable can have no unlimited dimension.
    file.createDimension("time", days if "contiguous" in storage else None)
    file.createDimension("lat", lats)
    file.createDimension("lon", lons)
    time = file.createVariable("time", "f8", ("time",))
    time.setncatts(dict(units="days since 2001-01-01", calendar="noleap", standard_name="time", axis="T"))
    lat = file.createVariable("lat", "f8", ("lat",))
    lat.setncatts(dict(units="degrees_north", standard_name="latitude", axis="Y"))
    lon = file.createVariable("lon", "f8", ("lon",))
    lon.setncatts(dict(units="degrees_east", standard_name="longitude", axis="X"))
    lat[:] = (np.arange(lats) + 0.5) * 180 / lats - 90
    lon[:] = (np.arange(lons) + 0.5) * 360 / lons
    time[:] = np.arange(days) + 0.5
    tas = file.createVariable("tas", "f4", ("time", "lat", "lon"), fill_value=FILL, **storage)
    tas.setncatts(dict(units="K", standard_name="air_temperature"))
    tas.set_auto_mask(False)
    return file, tas


def field(days, lats, lons):
    """Yields year after year: noise on a yearly cycle, land and clouds missing, 21 % in all."""
    rng = np.random.default_rng(SEED)
    lat = np.deg2rad((np.arange(lats) + 0.5) * 180 / lats - 90)[:, None]
    lon = np.deg2rad((np.arange(lons) + 0.5) * 360 / lons)[None, :]
    base = (288 - 40 * np.sin(lat) ** 2 + 3 * np.cos(2 * lon)).astype("f4")
    land = np.zeros((lats, lons), bool)
    land[lats // 9 : lats * 2 // 3, lons // 9 : lons * 37 // 90] = True
    for first in range(0, days, YEAR):
        cycle = 8 * np.sin(2 * np.pi * np.arange(YEAR) / YEAR)
        year = np.empty((YEAR, lats, lons), "f4")
        for day in range(YEAR):
            noise = rng.standard_normal((lats, lons), dtype="f4") * np.float32(0.6)
            values = base + np.float32(cycle[day]) + noise
            values = np.round(values * STEPS_PER_KELVIN) / STEPS_PER_KELVIN
            clouds = rng.random((lats, lons), dtype="f4") < 0.012
            year[day] = np.where(land | clouds, np.float32(FILL), values)
        yield first, year


def write_index(path):
    with h5py.File(path) as file, open(path + ".index.part", "w") as out:
        tas = file["tas"].id
        if tas.get_offset() is not None:
            row = int(np.prod(file["tas"].shape[1:])) * 4
            for day in range(file["tas"].shape[0]):
                print(day, 0, 0, tas.get_offset() + day * row, row, file=out)
            return
        pieces = [tas.get_chunk_info(number) for number in range(tas.get_num_chunks())]
        for piece in sorted(pieces, key=lambda piece: piece.byte_offset):
            print(*piece.chunk_offset, piece.byte_offset, piece.size, file=out)


def main(folder, days, lats, lons):
    os.makedirs(folder, exist_ok=True)
    paths = {name: os.path.join(folder, name + ".nc") for name in layouts(days, lats, lons)}
    files = {
        name: create(paths[name] + ".part", days, lats, lons, storage)
        for name, storage in layouts(days, lats, lons).items()
    }
    for first, year in field(days, lats, lons):
        for _, tas in files.values():
            tas[first : first + YEAR] = year
    for name, (file, _) in files.items():
        file.close()
        write_index(paths[name] + ".part")
        os.rename(paths[name] + ".part.index.part", paths[name] + ".index")
        os.rename(paths[name] + ".part", paths[name])


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
