"""The files that operators are compared on: generated ones, one for each thing that can differ
(calendar, packing, chunking, missing pattern, bounds, order of latitudes, steps), and real ones
of the two sample packages.

A file is its path and its traits; cases (cases.py) ask for traits.
"""

import dataclasses
import importlib.util
import pathlib

import netCDF4
import numpy as np

LATS, LONS = 12, 18


@dataclasses.dataclass(frozen=True)
class File:
    """A file and what it is good for."""

    name: str
    path: pathlib.Path
    variable: str
    traits: frozenset

    def has(self, *traits):
        return all(trait in self.traits for trait in traits)


def generated(folder):
    """Writes the generated files (seeded) and lists them."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []

    def add(name, traits=(), **options):
        path = folder / f"{name}.nc"
        write(path, **options)
        steps = {"D": "daily", "H": "hourly", "M": "monthly"}[options.get("step", "D")]
        traits = {"generated", "global", steps, *traits}
        if options.get("variable", "tas") == "tas":
            traits.add("tas")
        if options.get("missing", "some") == "none":
            traits.add("complete")
        if not options.get("levels"):
            traits.add("one level")
        files.append(File(name, path, options.get("variable", "tas"), frozenset(traits)))

    for calendar in ["standard", "proleptic_gregorian", "noleap", "all_leap", "360_day"]:
        add(f"calendar_{calendar}", {"calendar"}, calendar=calendar)
    add("complete", {"plain"}, missing="none")
    add("gaps", {"plain"}, missing="some")
    add("empty_cells", missing="cells")
    add("empty_steps", missing="steps")
    add("nan_fill", {"nan"}, missing="some", fill=np.nan)
    add("other_marker", {"marker"}, missing="some", marker=-999.0)
    add("packed", {"packed"}, missing="some", packed=True)
    add("integers", {"integers"}, missing="some", dtype="i4")
    add("double", missing="some", dtype="f8")
    add("blocks", {"chunks"}, missing="some", chunks=(100, 5, 7))
    add("contiguous", {"chunks"}, missing="some", contiguous=True)
    add("unlimited", {"chunks"}, missing="some", unlimited=True)
    add("no_bounds", missing="some", bounds=False)
    add("north_first", missing="some", north_first=True)
    add("hourly", missing="some", step="H", steps=24 * 40)
    add("monthly", {"plain"}, missing="some", step="M", steps=60)
    add("levels", {"levels"}, missing="some", levels=4, steps=40)
    for variable in ["tasmin", "tasmax", "pr"]:
        add(f"eca_{variable}", {f"eca {variable}"}, variable=variable, missing="none", steps=1460)
    add("eca_tas", {"eca tas"}, missing="none", steps=1460)
    return files


def write(
    path,
    *,
    variable="tas",
    calendar="noleap",
    step="D",
    steps=800,
    missing="some",
    fill=1e20,
    marker=None,
    packed=False,
    dtype="f4",
    chunks=None,
    contiguous=False,
    unlimited=False,
    bounds=True,
    north_first=False,
    levels=0,
):
    """Writes one file; what is not said is usual."""
    random = np.random.default_rng(20261126)
    with netCDF4.Dataset(path, "w") as data:
        data.Conventions = "CF-1.8"
        data.createDimension("time", None if unlimited else steps)
        data.createDimension("lat", LATS)
        data.createDimension("lon", LONS)
        data.createDimension("bnds", 2)
        time_axis(data, calendar, step, steps, bounds)
        lat = (np.arange(LATS) + 0.5) * 180 / LATS - 90
        lat = lat[::-1] if north_first else lat
        coordinate(data, "lat", lat, 180 / LATS * (-1 if north_first else 1), "degrees_north", bounds)
        lon = np.arange(LONS) * 360 / LONS
        coordinate(data, "lon", lon, 360 / LONS, "degrees_east", bounds)
        dims, shape = ["time", "lat", "lon"], [steps, LATS, LONS]
        if levels:
            data.createDimension("plev", levels)
            level = data.createVariable("plev", "f8", ("plev",))
            level.setncatts({"units": "Pa", "axis": "Z", "positive": "down", "standard_name": "air_pressure"})
            level[:] = np.linspace(100000, 20000, levels)
            dims.insert(1, "plev")
            shape.insert(1, levels)
        values = field(random, variable, shape, steps, step)
        mask = holes(random, missing, shape)
        options = {"contiguous": True} if contiguous else {"zlib": True, "shuffle": True, "complevel": 1}
        if chunks:
            options["chunksizes"] = chunks
        kind = "i2" if packed else dtype
        fill = -32000 if packed else (-99999 if kind == "i4" else fill)
        target = data.createVariable(variable, kind, dims, fill_value=fill, **options)
        target.setncatts({"units": "mm" if variable == "pr" else "K", "long_name": variable, "cell_methods": "area: mean"})
        if marker is not None:
            target.missing_value = np.float32(marker)
        if packed:
            target.scale_factor, target.add_offset = np.float32(0.01), np.float32(270)
        target.set_auto_maskandscale(False)
        if packed:
            values = np.round((values - 270) / 0.01)
        stored = values.astype(kind)
        stored[mask] = fill if marker is None else marker
        target[:] = stored


def time_axis(data, calendar, step, steps, bounds):
    unit = "hours" if step == "H" else "days"
    time = data.createVariable("time", "f8", ("time",))
    time.setncatts({"units": f"{unit} since 1999-12-01", "calendar": calendar, "axis": "T", "standard_name": "time"})
    if step == "M":
        dates = [(1999 + (11 + i) // 12, (11 + i) % 12 + 1) for i in range(steps + 1)]
        edges = [netCDF4.date2num(netcdf_date(y, m, calendar), time.units, calendar) for y, m in dates]
        edges = np.array(edges, float)
    else:
        edges = np.arange(steps + 1, dtype=float)
    time[:] = (edges[:-1] + edges[1:]) / 2
    if bounds:
        time.bounds = "time_bnds"
        data.createVariable("time_bnds", "f8", ("time", "bnds"))[:] = np.stack([edges[:-1], edges[1:]], 1)


def netcdf_date(year, month, calendar):
    import cftime

    return cftime.datetime(year, month, 1, calendar=calendar)


def coordinate(data, name, centres, width, units, bounds):
    variable = data.createVariable(name, "f8", (name,))
    variable.setncatts({"units": units, "axis": "Y" if name == "lat" else "X"})
    variable.standard_name = "latitude" if name == "lat" else "longitude"
    variable[:] = centres
    if bounds:
        variable.bounds = f"{name}_bnds"
        edges = np.stack([centres - width / 2, centres + width / 2], 1)
        data.createVariable(f"{name}_bnds", "f8", (name, "bnds"))[:] = edges


def field(random, variable, shape, steps, step):
    """Seasons, a gradient from pole to pole, and noise; rain for `pr`."""
    if variable == "pr":
        wet = random.random(shape) < 0.4
        return np.where(wet, random.gamma(0.7, 9.0, shape), random.random(shape) * 0.9)
    per_year = {"D": 365, "H": 8760, "M": 12}[step]
    season = 12 * np.sin(2 * np.pi * np.arange(steps) / per_year)
    season = season.reshape([steps] + [1] * (len(shape) - 1))
    offset = {"tasmin": -5, "tasmax": 5}.get(variable, 0)
    pole = 25 * np.cos(np.linspace(-np.pi / 2, np.pi / 2, LATS)).reshape(LATS, 1)
    return 268 + offset + season + pole + random.normal(0, 4, shape)


def holes(random, missing, shape):
    mask = np.zeros(shape, bool)
    if missing == "some":
        mask = random.random(shape) < 0.2
    elif missing == "cells":
        mask[...] = random.random(shape[-2:]) < 0.3
    elif missing == "steps":
        mask[random.random(shape[0]) < 0.3] = True
    return mask


def real(limit, seed):
    """Files of the sample packages: all of iris's that hold a grid, and `limit` CMIP6 ones."""
    files = []
    cmip6 = sorted(package("esmvaltool_sample_data").rglob("*.nc"))
    order = np.random.default_rng(seed).permutation(len(cmip6))
    for index in order[: limit or len(cmip6)]:
        path = cmip6[index]
        variable, table = path.name.split("_")[:2]
        steps = {"day": "daily", "Amon": "monthly"}.get(table, "other steps")
        traits = {"real", "cmip6", steps, "levels", *told_by(path, variable)}
        files.append(File(path.name, path, variable, frozenset(traits)))
    folder = package("iris_sample_data") / "sample_data"
    for name, variable, traits in [
        ("A1B_north_america.nc", "air_temperature", {"one level"}),
        ("E1_north_america.nc", "air_temperature", {"one level"}),
        ("ostia_monthly.nc", "surface_temperature", {"one level", "monthly"}),
        ("rotated_pole.nc", "air_pressure_at_sea_level", {"one level", "curvilinear"}),
        # Not orca2_votemper.nc: cdo takes its first dimension for the time.
    ]:
        path = folder / name
        if path.exists():
            traits = {"real", "iris", *traits, *told_by(path, variable)}
            files.append(File(name, path, variable, frozenset(traits)))
    return files


def told_by(path, variable):
    """Traits that are in the file itself."""
    with netCDF4.Dataset(path) as data:
        if not {"_FillValue", "missing_value"} & set(data[variable].ncattrs()):
            yield "unmarked"
        if "time" not in data.dimensions:
            yield "timeless"
        elif getattr(data["time"], "calendar", "") == "julian":
            yield "julian"


def package(name):
    """The folder of a Python package, which need not be importable: its own needs are large."""
    return pathlib.Path(importlib.util.find_spec(name).submodule_search_locations[0])
