"""Makes a NetCDF-4 file with groups, and compares what Mizar made of it with netCDF4 and NumPy.

Called by groups.rs: `make FILE`, `cycle FILE`, `same FILE COPY`, `mean FILE RESULT`, `only RESULT`.
"""

import sys

import numpy as np
from netCDF4 import Dataset


def field(*shape):
    values = np.random.default_rng(7).normal(280, 9, shape).astype("f4")
    return np.ma.masked_where(values > 297, values)


def coordinate(group, name, values, units, dimension=None):
    variable = group.createVariable(name, "f8", (dimension or name,))
    variable.units = units
    variable[:] = values
    return variable


def make(path):
    with Dataset(path, "w") as file:
        file.title = "of the file"
        file.createDimension("time", None)
        file.createDimension("lat", 4)
        file.createDimension("lon", 6)
        coordinate(file, "time", np.arange(8), "days since 2001-01-29")
        coordinate(file, "lat", [-60, -20, 20, 60], "degrees_north")
        coordinate(file, "lon", np.arange(6) * 60, "degrees_east")
        tas = file.createVariable("tas", "f4", ("time", "lat", "lon"), fill_value=1e20)
        tas.units = "K"
        tas[:] = field(8, 4, 6)
        ocean = file.createGroup("ocean")
        ocean.title = "of the ocean"
        ocean.numbers = np.array([1, 2], "i4")
        ocean.createDimension("depth", 3)
        ocean.createDimension("bnds", 2)
        depth = coordinate(ocean, "depth", [5, 15, 50], "m")
        depth.positive = "down"
        depth.bounds = "depth_bnds"
        bounds = ocean.createVariable("depth_bnds", "f8", ("depth", "bnds"))
        bounds[:] = [[0, 10], [10, 20], [20, 80]]
        thetao = ocean.createVariable(
            "thetao", "f4", ("time", "depth", "lat", "lon"), fill_value=1e20, zlib=True
        )
        thetao.units = "K"
        thetao.coordinates = "station"
        thetao[:] = field(8, 3, 4, 6)
        station = ocean.createVariable("station", "f8", ())
        station.long_name = "of the group"
        station[:] = 12
        names = ocean.createVariable("names", str, ("depth",))
        names[:] = np.array(["top", "mid\u00e4", ""], object)
        deep = file.createGroup("ocean/deep")
        deep.note = "below"
        # A time of its own, which is another one than the file's.
        deep.createDimension("time", 5)
        coordinate(deep, "time", np.arange(5), "days since 1990-01-01")
        mud = deep.createVariable("mud", "f8", ("time", "depth"))
        mud[:] = np.arange(15.0).reshape(5, 3)


def cycle(path):
    """A group that holds the one around it, under another name."""
    import h5py

    with h5py.File(path, "w") as file:
        inner = file.create_group("a/b")
        inner["x"] = np.arange(3.0)
        inner["again"] = file["a"]
        inner["root"] = file["/"]


def groups(file, path=""):
    yield path, file
    for name, group in file.groups.items():
        yield from groups(group, f"{path}/{name}")


def attributes(thing):
    values = {name: thing.getncattr(name) for name in thing.ncattrs()}
    return {name: values[name] for name in values if name not in ("history", "Conventions")}


def compare_attributes(owner, left, right):
    left, right = attributes(left), attributes(right)
    assert list(left) == list(right), f"{owner}: {list(left)}, {list(right)}"
    for name, value in left.items():
        assert np.array_equal(value, right[name]), f"{owner}: {name}"


def same(path, copy):
    with Dataset(path) as left, Dataset(copy) as right:
        left, right = dict(groups(left)), dict(groups(right))
        assert set(left) == set(right), set(left) ^ set(right)
        for path, group in left.items():
            other = right[path]
            compare_attributes(path, group, other)
            sizes = [
                {d.name: (len(d), d.isunlimited()) for d in g.dimensions.values()}
                for g in (group, other)
            ]
            assert sizes[0] == sizes[1], f"{path}: {sizes}"
            assert list(group.variables) == list(other.variables), path
            for name, variable in group.variables.items():
                copied = other.variables[name]
                assert variable.dimensions == copied.dimensions, f"{path}/{name}"
                for a, b in zip(variable.get_dims(), copied.get_dims()):
                    assert a.group().path == b.group().path, f"{path}/{name}: {a}"
                compare_attributes(f"{path}/{name}", variable, copied)
                a, b = np.ma.filled(variable[:]), np.ma.filled(copied[:])
                assert a.dtype == b.dtype and np.array_equal(a, b), f"{path}/{name}"
    print("same")


def mean(path, result):
    with Dataset(path) as file, Dataset(result) as found:
        for name in ("tas", "ocean/thetao"):
            expected = file[name][:].astype("f8").mean(axis=0)
            values = found[name][0]
            assert (np.ma.getmaskarray(expected) == np.ma.getmaskarray(values)).all(), name
            assert np.ma.allclose(expected, values, rtol=1e-6), name
            assert "time: mean" in found[name].cell_methods, name
        # Of another time.
        assert np.array_equal(file["ocean/deep/mud"][:], found["ocean/deep/mud"][:])
        assert found["ocean"].title == "of the ocean"
    print("mean")


def only(result):
    with Dataset(result) as found:
        assert list(found.variables) == ["time", "lat", "lon"], list(found.variables)
        assert list(found.groups) == ["ocean"] and not found["ocean"].groups
        ocean = found["ocean"]
        names = ["depth", "depth_bnds", "thetao", "station"]
        assert list(ocean.variables) == names, list(ocean.variables)
        assert ocean.title == "of the ocean" and ocean["thetao"].shape == (8, 1, 4, 6)
        assert ocean["depth_bnds"][:].tolist() == [[10, 20]]
    print("only")


if __name__ == "__main__":
    {"make": make, "cycle": cycle, "same": same, "mean": mean, "only": only}[sys.argv[1]](*sys.argv[2:])
