"""Makes NetCDF files of every kind that the reader must know, and what netCDF4-python and
cftime read from them.

    fixtures.py make FOLDER     files, FOLDER/manifest.json, and the values of each variable
    fixtures.py sums FILE...    checksums of the values of each numeric variable, as JSON
    fixtures.py dates           values, units and calendars with the dates that cftime gives
    fixtures.py indexes FOLDER  FOLDER/indexes.nc, with every kind of chunk index
    fixtures.py small FOLDER    FOLDER/new.nc, the same in a small file; FOLDER/earliest.nc in the
                                oldest format, FOLDER/netcdf.nc as netCDF4-python writes
    fixtures.py look FILE       structure and values of a file, for what our writer made

Missing values are NaN in what is written out.
"""

import json
import os
import sys

import numpy as np


def values_of(variable):
    """The values as doubles, missing ones as NaN."""
    data = variable[...]
    mask = np.ma.getmaskarray(data)
    out = np.array(np.ma.getdata(data), dtype="f8", copy=True).reshape(variable.shape)
    out[mask.reshape(out.shape)] = np.nan
    return out


def is_number(variable):
    return variable.dtype is not str and getattr(variable.dtype, "kind", "") in "iuf"


def random(shape, kind, seed):
    generator = np.random.default_rng(seed)
    if kind[0] in "iu":
        low = 0 if kind[0] == "u" else -100
        return generator.integers(low, 101, shape).astype(kind)
    return generator.normal(size=shape).astype(kind)


def all_types(folder):
    from netCDF4 import Dataset

    path = f"{folder}/all_types.nc"
    with Dataset(path, "w") as file:
        file.createDimension("time", None)
        file.createDimension("lat", 7)
        file.createDimension("lon", 13)
        file.title = "every type, endianness and filter"
        filters = [
            {},
            {"zlib": True, "complevel": 4, "shuffle": False},
            {"zlib": True, "complevel": 1},
            {"zlib": True, "fletcher32": True},
            {"fletcher32": True},
        ]
        number = 0
        for kind in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"):
            for endian in ("little", "big"):
                for index, options in enumerate(filters):
                    number += 1
                    name = f"{kind}_{endian}_{index}"
                    chunks = (2, 3, 5) if index % 2 else (1, 7, 13)
                    v = file.createVariable(
                        name, kind, ("time", "lat", "lon"), endian=endian, chunksizes=chunks, **options
                    )
                    v[:] = random((5, 7, 13), kind, number)
        v = file.createVariable("contiguous", "f4", ("lat", "lon"), contiguous=True)
        v[:] = random((7, 13), "f4", 1000)
        v = file.createVariable("contiguous_big", "i2", ("lat", "lon"), contiguous=True, endian="big")
        v[:] = random((7, 13), "i2", 1001)
        v = file.createVariable("scalar", "f8", ())
        v[...] = 2.5
        v = file.createVariable("short_one", "f4", ("time", "lat"))
        v[0:2, :] = random((2, 7), "f4", 1002)
        file.createVariable("never_written", "f4", ("lat", "lon"))
        file.createVariable("never_written_chunked", "i4", ("time", "lat"), zlib=True, fill_value=7)
        v = file.createVariable("holes", "f4", ("lat", "lon"), chunksizes=(2, 2), zlib=True)
        v[2:3, 4:6] = 1.0
        v = file.createVariable("quantized", "f4", ("lat", "lon"), zlib=True, least_significant_digit=2)
        v[:] = random((7, 13), "f4", 1003)
        for codec in ("zstd", "szip"):
            try:
                v = file.createVariable(f"with_{codec}", "f4", ("lat", "lon"), compression=codec)
                v[:] = random((7, 13), "f4", 1004)
            except (RuntimeError, ValueError):
                pass
    return path


def packed(folder):
    from netCDF4 import Dataset

    path = f"{folder}/packed.nc"
    raw = np.array([-32767, -5, 0, 5, 99, 100, 101, 30000], "i2")
    with Dataset(path, "w") as file:
        file.createDimension("x", 8)

        def make(name, kind="i2", fill=None, values=raw, **attributes):
            v = file.createVariable(name, kind, ("x",), fill_value=fill, zlib=True)
            v.set_auto_maskandscale(False)
            for key, value in attributes.items():
                v.setncattr(key, value)
            v[:] = values.astype(kind)

        f4, f8 = np.float32, np.float64
        make("plain")
        make("both", scale_factor=f8(0.01), add_offset=f8(273.15))
        make("single", scale_factor=f4(0.01), add_offset=f4(273.15))
        make("factor", scale_factor=f4(0.1))
        make("offset", add_offset=f8(1.5))
        make("fill", fill=-5, scale_factor=f8(2))
        make("differs", fill=-5, missing_value=np.int16(5), scale_factor=f8(2))
        make("range", valid_range=np.array([-5, 100], "i2"), scale_factor=f8(2))
        make("low", valid_min=np.int16(0))
        make("high", fill=0, valid_max=np.int16(100), missing_value=np.int16(99))
        make("list", missing_value=np.array([5, 99, 100], "i2"))
        floats = np.array([1e20, 9.96921e36, 0, np.nan, 1, -1, 2, 3])
        make("float", "f4", f4(1e20), floats, missing_value=f4(-1))
        make("float_default", "f4", None, floats)
        make("float_wide", "f8", None, floats, missing_value=f8(1e20))
        make("float_scaled", "f4", f4(1e20), floats, scale_factor=f4(3))
        make("nan_fill", "f4", f4(np.nan), floats)
        make("byte_default", "i1", None, np.array([-126, 0, 1, 2, 3, 4, 5, 127]))
        unsigned = np.array([-1, -2, 0, 1, 2, 3, 100, 127], "i1")
        make("unsigned", "i1", np.int8(-1), unsigned, _Unsigned="true", scale_factor=f8(0.5))
        big = np.array([2**53 + 1, 2**60, 1, 2, 3, 4, 5, -(2**63) + 2], "i8")
        make("long", "i8", np.int64(2**53 + 1), big)
    return path


def texts(folder):
    from netCDF4 import Dataset

    path = f"{folder}/texts.nc"
    with Dataset(path, "w") as file:
        file.createDimension("station", 3)
        file.createDimension("length", 6)
        file.createDimension("lonely", 4)
        file.createDimension("y", 2)
        chars = file.createVariable("letters", "S1", ("station", "length"))
        rows = [list("abc   "), list("de\0\0\0\0"), ["\0"] * 6]
        chars[:] = np.array(rows, "S1")
        chars = file.createVariable("foreign", "S1", ("station", "length"))
        rows = ["Zürich".encode()[:6], "Genève".encode("latin-1"), "abcdeü".encode()[:6]]
        padded = b"".join(row.ljust(6, b"\0") for row in rows)
        chars[:] = np.frombuffer(padded, "S1").reshape(3, 6)
        strings = file.createVariable("strings", str, ("station",))
        strings[:] = np.array(["Bern", "Zürich", ""], object)
        file.createVariable("crs", "i4", ()).grid_mapping_name = "latitude_longitude"
        y = file.createVariable("y", "f8", ("y",))
        y[:] = [1, 2]
        y.setncattr("CLASS_OF_ITS_OWN", "visible")
        odd = file.createVariable("lonely", "f4", ("station",))
        odd[:] = [1, 2, 3]
        file.setncattr("empty", "")
        file.setncattr("utf8", "Größe")
        file.setncattr_string("string", "one")
        file.setncattr_string("list", ["a", "bc", "déf"])
        for kind in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"):
            file.setncattr(f"one_{kind}", np.array(3, kind))
            file.setncattr(f"two_{kind}", np.array([3, 4], kind))
        file.createGroup("inner").createDimension("hidden", 2)
    return path


def plain_hdf5(folder):
    import h5py

    path = f"{folder}/plain_hdf5.nc"
    with h5py.File(path, "w", userblock_size=1024) as file:
        data = random((6, 10), "f4", 1)
        file.create_dataset("contiguous", data=data)
        file.create_dataset("chunked", data=data, chunks=(4, 4), compression="gzip", shuffle=True)
        d = file.create_dataset("checked", data=data, chunks=(4, 4), fletcher32=True, compression="gzip", shuffle=True)
        d.attrs["units"] = "K"
        file.create_dataset("scaled", data=data, chunks=(4, 4), scaleoffset=3)
        file.create_dataset("integers", data=random((6, 10), "i4", 2), chunks=(4, 4), scaleoffset=0)
        file.create_dataset("half", data=data.astype("f2"))
        file.create_dataset("truth", data=data > 0)
        space = h5py.h5s.create_simple((3, 4))
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        compact = h5py.h5d.create(file.id, b"compact", h5py.h5t.IEEE_F64BE, space, plist)
        compact.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(12, dtype="f8"))
        file.create_dataset("filled", shape=(4, 4), chunks=(2, 2), dtype="f8", fillvalue=-3.5)
    return path


def filter_masks(folder):
    """Chunks for which some filters were not applied, as their masks say."""
    import zlib

    import h5py

    path = f"{folder}/filter_masks.nc"
    data = np.arange(4 * 8, dtype="<i4").reshape(4, 8)
    with h5py.File(path, "w") as file:
        d = file.create_dataset("masked", (4, 8), "<i4", chunks=(1, 8), compression="gzip", shuffle=True)
        for row in range(4):
            raw = data[row].tobytes()
            shuffled = data[row].view("u1").reshape(8, 4).T.tobytes()
            mask = row  # bit 0: no shuffle, bit 1: no deflate
            stored = raw if mask & 1 else shuffled
            stored = stored if mask & 2 else zlib.compress(stored)
            d.id.write_direct_chunk((row, 0), stored, filter_mask=mask)
    return path


def latest_format(folder):
    """Chunk indexes of the newer file format: fixed and extensible arrays, implicit, one."""
    import h5py

    path = f"{folder}/latest_format.nc"
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        data = random((9, 11), "f8", 5)
        file.create_dataset("fixed", data=data, chunks=(4, 4), compression="gzip")
        file.create_dataset("growing", data=data, chunks=(4, 4), maxshape=(None, 11), shuffle=True)
        file.create_dataset("growing_both", data=data, chunks=(4, 4), maxshape=(None, None), compression="gzip")
        file.create_dataset("single", data=data, chunks=(9, 11), compression="gzip")
    return path


def indexes(folder):
    """Chunk indexes large enough for every kind of block they have. Cells count from 1 in the
    order of memory; those of the holes are 0."""
    import h5py

    with h5py.File(f"{folder}/indexes.nc", "w", libver=("v110", "v110")) as file:

        def make(name, shape, chunks, maxshape=None, holes=None, **options):
            cells = np.arange(1, np.prod(shape) + 1, dtype="i4").reshape(shape)
            d = file.create_dataset(name, shape, "i4", chunks=chunks, maxshape=maxshape, **options)
            if holes is None:
                d[...] = cells
            else:
                for part in holes:
                    d[part] = cells[part]

        packed = {"compression": "gzip", "compression_opts": 1}
        # Pages of 1,024 entries each; some of them without any.
        make("fixed", (2500, 2), (1, 2))
        make("fixed_packed", (2500, 2), (1, 2), **packed)
        make("fixed_holes", (5000,), (1,), holes=[np.s_[:3], np.s_[4000:]])
        make("fixed_wider", (7, 9, 5), (2, 3, 2), (20, 9, 11))
        # One unlimited dimension: first, middle, last.
        make("growing", (3000, 2), (1, 2), (None, 2))
        make("growing_packed", (3000, 2), (1, 2), (None, 2), **packed)
        make("growing_middle", (5, 40, 6), (2, 3, 4), (5, None, 9))
        make("growing_last", (6, 50), (4, 1), (6, None), **packed)
        make("growing_holes", (4000,), (1,), (None,), holes=[np.s_[5:7], np.s_[900:910], np.s_[3999:]])
        # Data blocks of more than 1,024 entries begin at 131,056.
        make("growing_pages", (140000,), (1,), (None,), holes=[np.s_[131000:131100], np.s_[139000:]])
        # Several: a tree of one level, of two, and of three.
        make("tree_leaf", (3, 3), (1, 1), (None, None))
        make("tree", (100, 30), (1, 1), (None, None), **packed)
        make("tree_deep", (300, 70), (1, 1), (None, None))
        make("tree_empty", (300, 70), (1, 1), (None, None), holes=[])
        make("single", (9, 11), (9, 11))
        make("single_packed", (9, 11), (9, 11), shuffle=True, **packed)
        make("single_larger", (5, 4), (8, 8), (8, 8), **packed)
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((1, 4))
        plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        space = h5py.h5s.create_simple((50, 10), (70, 14))
        implicit = h5py.h5d.create(file.id, b"implicit", h5py.h5t.STD_I32LE, space, plist)
        cells = np.arange(1, 501, dtype="i4").reshape(50, 10)
        implicit.write(h5py.h5s.ALL, h5py.h5s.ALL, cells)


def small_indexes(folder):
    """Each newer chunk index once, in a file of some KiB."""
    import h5py

    with h5py.File(f"{folder}/new.nc", "w", libver=("v110", "v110")) as file:
        data = np.arange(60, dtype="i4").reshape(6, 10)
        file.create_dataset("fixed", data=data, chunks=(1, 5), compression="gzip", shuffle=True)
        file.create_dataset("growing", data=data, chunks=(1, 5), maxshape=(None, 10), fletcher32=True)
        file.create_dataset("tree", data=data, chunks=(1, 5), maxshape=(None, None))
        file.create_dataset("single", data=data, chunks=(6, 10), compression="gzip")


def small_earliest(folder):
    """The oldest format: no checksums, groups as B-trees with local heaps, filters."""
    import h5py

    with h5py.File(f"{folder}/earliest.nc", "w", libver=("earliest", "v110")) as file:
        data = np.arange(60, dtype="i4").reshape(6, 10)
        x = file.create_dataset("x", data=np.arange(10.0))
        x.make_scale("x")
        t = file.create_dataset("t", data=data, chunks=(2, 5), compression="gzip", shuffle=True)
        t.dims[1].attach_scale(x)
        t.attrs["units"] = "K"
        t.attrs["list"] = ["one", "two"]
        file.create_dataset("names", data=["a", "bc", "d"])
        file.create_dataset("fixed", data=np.array([b"one", b"three"]))
        file.create_group("inner").create_dataset("hidden", data=data)
        file.attrs["title"] = "of some length"


def small_netcdf(folder):
    """Many attributes, which lie in heaps of their own, and a group."""
    from netCDF4 import Dataset

    with Dataset(f"{folder}/netcdf.nc", "w") as file:
        file.createDimension("time", None)
        file.createDimension("x", 10)
        file.setncattr_string("title", "of some length")
        t = file.createVariable("t", "f4", ("time", "x"), zlib=True, fletcher32=True)
        t[:] = np.arange(40).reshape(4, 10)
        for number in range(12):
            t.setncattr(f"attribute_{number}", f"number {number}")
        file.createVariable("time", "f8", ("time",))[:] = np.arange(4)
        inner = file.createGroup("inner")
        inner.createVariable("u", "f4", ("x",))[:] = np.arange(10)


def small(folder):
    small_indexes(folder)
    small_earliest(folder)
    small_netcdf(folder)


def netcdf3(folder, version):
    """One of the three NetCDF-3 formats: fixed and record variables of every type and of odd
    sizes, packed ones, texts and attributes."""
    from netCDF4 import Dataset

    path = f"{folder}/{version.lower()}.nc"
    kinds = ["i1", "i2", "i4", "f4", "f8"]
    if version == "NETCDF3_64BIT_DATA":
        kinds += ["u1", "u2", "u4", "i8", "u8"]
    with Dataset(path, "w", format=version) as file:
        file.createDimension("time", None)
        file.createDimension("lat", 3)
        file.createDimension("lon", 5)
        file.createDimension("station", 3)
        file.createDimension("length", 6)
        for number, kind in enumerate(kinds):
            v = file.createVariable(f"record_{kind}", kind, ("time", "lat", "lon"))
            v[:] = random((7, 3, 5), kind, number)
            v = file.createVariable(f"fixed_{kind}", kind, ("lat", "lon"))
            v[:] = random((3, 5), kind, number + 100)
            v = file.createVariable(f"series_{kind}", kind, ("time",))
            v[:] = random((7,), kind, number + 200)
            file.setncattr(f"two_{kind}", np.array([3, 4], kind))
        v = file.createVariable("scalar", "f8", ())
        v[...] = 2.5
        v = file.createVariable("packed", "i2", ("time", "lat"), fill_value=np.int16(-5))
        v.setncatts({"scale_factor": np.float32(0.01), "add_offset": np.float32(273.15)})
        v.setncatts({"missing_value": np.int16(7), "valid_max": np.int16(90)})
        v.set_auto_maskandscale(False)
        v[:] = random((7, 3), "i2", 300)
        v[0, :] = [-5, 7, 91]
        file.createVariable("never_written", "f4", ("time", "lat"))
        chars = file.createVariable("letters", "S1", ("station", "length"))
        chars[:] = np.array([list("abc   "), list("de\0\0\0\0"), ["\0"] * 6], "S1")
        chars = file.createVariable("record_letters", "S1", ("time", "length"))
        chars[:] = np.array([list(f"step {i}") for i in range(7)], "S1")
        file.setncatts({"title": "Größe", "empty": ""})
        v.units = "K"
    return path


def netcdf3_scipy(folder, version):
    """The same formats by another writer: the one record variable is not padded."""
    from scipy.io import netcdf_file

    path = f"{folder}/scipy_{version}.nc"
    with netcdf_file(path, "w", version=version) as file:
        file.createDimension("time", None)
        file.createDimension("x", 3)
        v = file.createVariable("bytes", "i1", ("time", "x"))
        v[:] = random((5, 3), "i1", 1)
        v = file.createVariable("odd", "i2", ("x",))
        v[:] = random((3,), "i2", 2)
    return path


def make(folder):
    from netCDF4 import Dataset

    files = []
    for path in (
        all_types(folder),
        packed(folder),
        texts(folder),
        plain_hdf5(folder),
        filter_masks(folder),
        latest_format(folder),
        netcdf3(folder, "NETCDF3_CLASSIC"),
        netcdf3(folder, "NETCDF3_64BIT_OFFSET"),
        netcdf3(folder, "NETCDF3_64BIT_DATA"),
        netcdf3_scipy(folder, 1),
        netcdf3_scipy(folder, 2),
    ):
        variables = []
        with Dataset(path) as file:
            for name, variable in file.variables.items():
                if not is_number(variable):
                    continue
                stored = f"{folder}/{os.path.basename(path)}.{name}.f64"
                values_of(variable).astype("<f8").tofile(stored)
                variables.append(
                    {
                        "name": name,
                        "shape": list(variable.shape),
                        "dims": list(variable.dimensions),
                        "values": stored,
                    }
                )
            dimensions = [
                {"name": d.name, "len": d.size, "unlimited": d.isunlimited()}
                for d in file.dimensions.values()
            ]
        files.append({"path": path, "variables": variables, "dimensions": dimensions})
    with open(f"{folder}/manifest.json", "w") as out:
        json.dump(files, out)


def sums(paths):
    from netCDF4 import Dataset

    out = []
    for path in paths:
        variables = []
        with Dataset(path) as file:
            for name, variable in file.variables.items():
                if is_number(variable):
                    values = values_of(variable)
                    missing = np.isnan(values)
                    bits = values[~missing].view("u8")
                    total = int(np.add.reduce(bits, dtype="u8"))
                    variables.append([name, list(variable.shape), int(missing.sum()), str(total)])
        out.append({"path": path, "variables": variables})
    json.dump(out, sys.stdout)


def dates():
    import cftime

    generator = np.random.default_rng(11)
    out = []
    for calendar in ("standard", "proleptic_gregorian", "julian", "noleap", "all_leap", "360_day"):
        for units in (
            "days since 1850-01-01",
            "hours since 1582-10-04 06:00:00",
            "seconds since 1970-01-01T00:00:00Z",
            "minutes since 2000-02-28 12:30:15 +01:30",
            "days since 1-1-1",
        ):
            scale = {"d": 1, "h": 24, "s": 86400, "m": 1440}[units[0]]
            values = np.concatenate([generator.integers(-5000, 800000, 20) * scale, generator.uniform(-5000, 9e5, 10) * scale])
            for value in values:
                try:
                    date = cftime.num2date(value, units, calendar, only_use_cftime_datetimes=True)
                except (ValueError, OverflowError):
                    continue
                fields = [date.year, date.month, date.day, date.hour, date.minute, date.second, date.microsecond]
                out.append([units, calendar, str(np.float64(value).view("u8")), [int(f) for f in fields]])
    json.dump(out, sys.stdout)


def look(path):
    import xarray
    from netCDF4 import Dataset

    with Dataset(path) as file:
        seen = {
            "dimensions": {d.name: [d.size, d.isunlimited()] for d in file.dimensions.values()},
            "attributes": {key: repr(file.getncattr(key)) for key in file.ncattrs()},
            "variables": {
                name: {
                    "dtype": str(v.dtype),
                    "dims": list(v.dimensions),
                    "attributes": {key: repr(v.getncattr(key)) for key in v.ncattrs()},
                    "values": repr(v[...].tolist()),
                }
                for name, v in file.variables.items()
            },
        }
    with xarray.open_dataset(path, decode_times=False) as opened:
        seen["xarray"] = {name: list(v.sizes.values()) for name, v in opened.variables.items()}
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    {"make": lambda: make(*arguments), "sums": lambda: sums(arguments), "dates": dates, "indexes": lambda: indexes(*arguments), "small": lambda: small(*arguments), "look": lambda: look(*arguments)}[command]()
