"""Files and stores that a test reads from a server: every layout, with values that do not
compress, so that what travels can be counted."""

import sys
from pathlib import Path

import h5py
import netCDF4
import numpy as np
import xarray as xr

SHAPE = (40, 120, 160)
CHUNKS = (10, 60, 80)


def values(seed):
    return np.random.default_rng(seed).normal(280, 10, SHAPE).astype("f4")


def netcdf4(path, chunked=True):
    with netCDF4.Dataset(path, "w") as file:
        for name, length in zip(("time", "lat", "lon"), SHAPE):
            file.createDimension(name, length)
            axis = file.createVariable(name, "f8", (name,))
            axis[:] = np.arange(length)
        file["time"].units = "days since 2000-01-01"
        file["lat"].units = "degrees_north"
        file["lon"].units = "degrees_east"
        for number, name in enumerate(("tas", "pr")):
            how = {"zlib": True, "complevel": 1, "shuffle": True, "chunksizes": CHUNKS}
            if not chunked:
                how = {"contiguous": True}
            variable = file.createVariable(name, "f4", ("time", "lat", "lon"), **how)
            variable[:] = values(number)


def latest(path):
    """The newer indexes of HDF5, and a filter that only the library knows."""
    with h5py.File(path, "w", libver=("earliest", "v110")) as file:
        for number, extents in enumerate(((None, 120, 160), SHAPE, (None, None, 160))):
            file.create_dataset(
                f"v{number}", data=values(number), chunks=CHUNKS, maxshape=extents, shuffle=True
            )
        whole = values(7).astype("i4")
        file.create_dataset("packed", data=whole, chunks=CHUNKS, scaleoffset=0)
        file.create_dataset("names", data=[b"one", b"two"], dtype="S3")


def classic(path):
    with netCDF4.Dataset(path, "w", format="NETCDF3_64BIT_OFFSET") as file:
        file.createDimension("time", None)
        file.createDimension("lat", SHAPE[1])
        file.createDimension("lon", SHAPE[2])
        for number, name in enumerate(("tas", "pr")):
            file.createVariable(name, "f4", ("time", "lat", "lon"))[:] = values(number)
        time = file.createVariable("time", "f8", ("time",))
        time.units = "days since 2000-01-01"
        time[:] = np.arange(SHAPE[0])
        file.createVariable("fixed", "f8", ("lat", "lon"))[:] = values(3)[0]


def stores(folder):
    data = xr.Dataset(
        {"tas": (("time", "lat", "lon"), values(0))},
        {name: np.arange(length) for name, length in zip(("time", "lat", "lon"), SHAPE)},
    )
    units = {"time": "days since 2000-01-01", "lat": "degrees_north", "lon": "degrees_east"}
    for name, text in units.items():
        data[name].attrs["units"] = text
    chunks = {"tas": {"chunks": CHUNKS}}
    data.to_zarr(folder / "v2.zarr", zarr_format=2, encoding=chunks, consolidated=True)
    shards = {"tas": {"chunks": CHUNKS, "shards": (20, 120, 160)}}
    data.to_zarr(folder / "v3.zarr", zarr_format=3, encoding=shards, consolidated=True)
    data.to_zarr(folder / "plain", zarr_format=3, encoding=chunks, consolidated=False)


def parts(folder):
    """A few steps each, which a pattern brings together."""
    for part in range(3):
        with netCDF4.Dataset(folder / f"part_{part}.nc", "w") as file:
            file.createDimension("time", None)
            file.createDimension("lat", 2)
            file.createDimension("lon", 3)
            for name in ("lat", "lon"):
                file.createVariable(name, "f8", (name,))[:] = np.arange(len(file.dimensions[name]))
            file["lat"].units = "degrees_north"
            file["lon"].units = "degrees_east"
            time = file.createVariable("time", "f8", ("time",))
            time.units = "days since 2000-01-01"
            time[:] = np.arange(4) + 4 * part
            tas = file.createVariable("tas", "f4", ("time", "lat", "lon"))
            tas[:] = np.arange(24).reshape(4, 2, 3) + 24 * part


def make(folder):
    folder = Path(folder)
    netcdf4(folder / "chunked.nc")
    netcdf4(folder / "contiguous.nc", chunked=False)
    latest(folder / "latest.h5")
    classic(folder / "classic.nc")
    stores(folder)
    parts(folder)


if __name__ == "__main__":
    {"make": make}[sys.argv[1]](*sys.argv[2:])
