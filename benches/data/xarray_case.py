"""One case of bench_arrays in xarray and dask, as someone who knows them would write it.

    xarray_case.py CASE IN OUT THREADS

Threads read whole storage chunks, a year of days at once; flox groups. `import` as CASE stops
after the imports.
"""
import sys

import dask
import flox  # noqa: F401  xarray groups by it if it is there
import netCDF4  # noqa: F401
import numpy as np
import xarray as xr

DAYS_AT_ONCE = 365


def main(case, source, target, threads):
    dask.config.set(scheduler="threads", num_workers=int(threads))
    data = xr.open_dataset(source, chunks={"time": DAYS_AT_ONCE}, engine="netcdf4")
    data = data.drop_vars([name for name in data.data_vars if name != "tas"])
    data.encoding.pop("unlimited_dims", None)
    encoding = {"tas": {"zlib": False}}
    if case == "timmean":
        result = data.mean("time")
    elif case == "timmax":
        result = data.max("time")
    elif case == "monmean":
        result = data.resample(time="MS").mean()
    elif case == "fldmean":
        result = data.weighted(np.cos(np.deg2rad(data.lat))).mean(("lat", "lon"))
    elif case == "ydaymean":
        result = data.groupby("time.dayofyear").mean()
    elif case == "anomaly":
        days = data.groupby("time.dayofyear")
        result = days - days.mean()
        result = result.chunk(time=DAYS_AT_ONCE)
        shape = (1, *result.tas.shape[1:])
        encoding = {"tas": {"zlib": True, "complevel": 1, "shuffle": True, "chunksizes": shape}}
    else:
        sys.exit(f"no case {case}")
    result.to_netcdf(target, engine="netcdf4", encoding=encoding)


if sys.argv[1] != "import":
    main(*sys.argv[1:5])
