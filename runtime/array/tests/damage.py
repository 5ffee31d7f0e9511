"""Makes HDF5 files whose structure lies on purpose, checksums and all.

    damage.py make FOLDER    the files, and on standard output what each is, as JSON:
                             file -> [variable or null, whether reading must fail]

A file is written by h5py, and then a number of it is changed where the HDF5 file format
specification 3.0 has it.
"""

import json
import struct
import sys

import h5py
import numpy as np

FAR = 1 << 40


def rotate(word, bits):
    return ((word << bits) | (word >> (32 - bits))) & 0xFFFFFFFF


def checksum(data):
    """Bob Jenkins, lookup3, hashlittle with a seed of 0."""
    a = b = c = (0xDEADBEEF + len(data)) & 0xFFFFFFFF
    mask = 0xFFFFFFFF
    while len(data) > 12:
        x, y, z = struct.unpack_from("<III", data)
        a, b, c = (a + x) & mask, (b + y) & mask, (c + z) & mask
        for r1, r2, r3 in ((4, 6, 8), (16, 19, 4)):
            a = ((a - c) & mask) ^ rotate(c, r1)
            c = (c + b) & mask
            b = ((b - a) & mask) ^ rotate(a, r2)
            a = (a + c) & mask
            c = ((c - b) & mask) ^ rotate(b, r3)
            b = (b + a) & mask
        data = data[12:]
    if data:
        x, y, z = struct.unpack("<III", data.ljust(12, b"\0"))
        a, b, c = (a + x) & mask, (b + y) & mask, (c + z) & mask
        c = ((c ^ b) - rotate(b, 14)) & mask
        a = ((a ^ c) - rotate(c, 11)) & mask
        b = ((b ^ a) - rotate(a, 25)) & mask
        c = ((c ^ b) - rotate(b, 16)) & mask
        a = ((a ^ c) - rotate(c, 4)) & mask
        b = ((b ^ a) - rotate(a, 14)) & mask
        c = ((c ^ b) - rotate(b, 24)) & mask
    return c


class Image:
    """A file's bytes, of which one number after the other is changed."""

    def __init__(self, maker, folder, name):
        self.maker, self.folder, self.name = maker, folder, name
        with open(f"{folder}/{name}.nc", "rb") as file:
            self.valid = file.read()
        self.bytes = bytearray(self.valid)

    def places(self, signature, kind=None):
        """Where blocks begin; `kind` is the byte after signature and version, or of old
        B-trees the one after the signature."""
        place, found = -1, []
        while (place := self.valid.find(signature, place + 1)) >= 0:
            at = place + (4 if signature == b"TREE" else 5)
            if kind is None or self.valid[at] in kind:
                found.append(place)
        return found

    def number(self, form, place):
        return struct.unpack_from("<" + form, self.valid, place)[0]

    def set(self, form, place, value):
        struct.pack_into("<" + form, self.bytes, place, value)
        return self

    def seal(self, start, length):
        """Makes the checksum of a block right, which ends with it."""
        return self.set("I", start + length - 4, checksum(bytes(self.bytes[start : start + length - 4])))

    def save(self, name, variable, must_fail=True):
        with open(f"{self.folder}/{name}.nc", "wb") as file:
            file.write(self.bytes)
        self.maker[f"{name}.nc"] = [variable, must_fail]
        self.bytes = bytearray(self.valid)


def old_groups(maker, folder):
    with h5py.File(f"{folder}/links.nc", "w", libver=("earliest", "v110")) as file:
        for number in range(400):
            file.create_dataset(f"v{number:04d}", data=np.arange(3))
    image = Image(maker, folder, "links")
    nodes = image.places(b"TREE", [0])
    root = next(node for node in nodes if image.valid[node + 5] == 1)
    leaf = next(node for node in nodes if image.valid[node + 5] == 0)
    image.set("Q", root + 32, root).save("group_tree_of_itself", None)
    image.set("B", leaf + 5, 1).set("Q", leaf + 32, root).save("group_tree_of_its_parent", None)
    image.set("Q", root + 32, FAR).save("group_tree_far", None)
    image.set("H", root + 6, 0xFFFF).save("group_tree_of_many", None)
    heap = image.places(b"HEAP")[0]
    data = image.number("Q", heap + 24)
    cycle = image.set("Q", heap + 16, 8).set("Q", data + 8, 8).set("Q", data + 16, 32)
    cycle.save("local_heap_of_itself", None)
    image.set("Q", heap + 16, FAR).save("local_heap_far", None)
    table = image.places(b"SNOD")[0]
    image.set("H", table + 6, 0xFFFF).save("group_node_of_many", None)


def old_headers(maker, folder):
    with h5py.File(f"{folder}/header.nc", "w", libver=("earliest", "v110")) as file:
        d = file.create_dataset("t", data=np.arange(100, dtype="i4").reshape(50, 2), chunks=(1, 2))
        for number in range(20):
            d.attrs[f"a{number}"] = "x" * 50
        header = h5py.h5o.get_info(d.id).addr
    image = Image(maker, folder, "header")
    size = image.number("I", header + 8)
    place = header + 16
    while image.number("H", place) != 0x10:
        place += 8 + image.number("H", place + 2)
    again = image.set("H", header + 2, 5000).set("Q", place + 8, header + 16).set("Q", place + 16, size)
    again.save("header_of_itself", "t", False)
    image.set("Q", place + 16, FAR).save("header_far", "t", False)


def new_headers(maker, folder):
    with h5py.File(f"{folder}/new_header.nc", "w", libver=("v110", "v110")) as file:
        d = file.create_dataset("t", data=np.arange(3))
        # No room behind it.
        file.create_dataset("other", data=np.arange(3))
        file.flush()
        for number in range(8):
            d.attrs[f"a{number}"] = "x" * 50
    image = Image(maker, folder, "new_header")
    chunk = image.places(b"OCHK")[-1]
    # The first message of a further block becomes one that names this block.
    length = next(
        n for n in range(24, 4000) if checksum(image.valid[chunk : chunk + n]) == image.number("I", chunk + n)
    )
    image.set("B", chunk + 4, 0x10).set("Q", chunk + 8, chunk).set("Q", chunk + 16, length + 4)
    image.seal(chunk, length + 4).save("new_header_of_itself", "t", False)


def old_chunks(maker, folder):
    with h5py.File(f"{folder}/chunks.nc", "w", libver=("earliest", "v110")) as file:
        data = np.arange(800, dtype="i4").reshape(400, 2)
        file.create_dataset("t", data=data, chunks=(1, 2), fletcher32=True)
        # Read through the library: of a size that no machine has.
        odd = h5py.h5t.STD_I32LE.copy()
        odd.set_precision(24)
        odd.set_size(3)
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((1, 2))
        space = h5py.h5s.create_simple((400, 2))
        slow = h5py.h5d.create(file.id, b"slow", odd, space, plist)
        slow.write(h5py.h5s.ALL, h5py.h5s.ALL, data)
        file.create_dataset("texts", data=["a", "b"] * 200, chunks=(1,))
    image = Image(maker, folder, "chunks")
    nodes = image.places(b"TREE", [1])
    roots = [node for node in nodes if image.valid[node + 5] > 0]
    for root, variable, rank in zip(roots, ("t", "slow", "texts"), (2, 2, 1)):
        key = 16 + 8 * rank
        child = root + 24 + key
        leaf = image.number("Q", child)
        image.set("Q", child, root).save(f"{variable}_tree_of_itself", variable)
        image.set("B", leaf + 5, 1).set("Q", leaf + 24 + key, root)
        image.save(f"{variable}_tree_of_its_parent", variable)
        image.set("Q", leaf + 24 + key, FAR).save(f"{variable}_chunk_far", variable)
        image.set("I", leaf + 24, 0xFFFFFFFF).save(f"{variable}_chunk_large", variable)
        image.set("Q", leaf + 32, FAR).save(f"{variable}_chunk_outside", variable)
        image.set("H", leaf + 6, 0xFFFF).save(f"{variable}_node_of_many", variable)


def new_chunks(maker, folder):
    with h5py.File(f"{folder}/indexes.nc", "w", libver=("v110", "v110")) as file:
        data = np.arange(4000, dtype="i4").reshape(2000, 2)
        packed = {"compression": "gzip"}
        file.create_dataset("fixed", data=data, chunks=(1, 2), **packed)
        file.create_dataset("growing", data=data, chunks=(1, 2), maxshape=(None, 2), **packed)
        file.create_dataset("tree", data=data, chunks=(1, 1), maxshape=(None, None), **packed)
        file.create_dataset("single", data=data, chunks=(2000, 2), **packed)
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((1, 2))
        plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        implicit = h5py.h5d.create(file.id, b"implicit", h5py.h5t.STD_I32LE, h5py.h5s.create_simple((2000, 2)), plist)
        implicit.write(h5py.h5s.ALL, h5py.h5s.ALL, data)
        headers = {name: h5py.h5o.get_info(file[name].id).addr for name in file}
    image = Image(maker, folder, "indexes")
    array = image.places(b"FAHD")[0]
    image.set("Q", array + 8, FAR).seal(array, 28).save("fixed_of_many", "fixed", False)
    image.set("Q", array + 16, array).seal(array, 28).save("fixed_of_itself", "fixed")
    image.set("Q", array + 16, FAR).seal(array, 28).save("fixed_far", "fixed")
    image.set("B", array + 7, 31).seal(array, 28).save("fixed_of_large_pages", "fixed")
    block = image.number("Q", array + 16)
    entry = image.valid[array + 6]
    page = block + 14 + 1 + 4
    # Entries are an address, a size and a filter mask.
    size = 1024 * entry + 4
    form = {1: "B", 2: "H", 4: "I", 8: "Q"}[entry - 12]
    largest = (1 << (8 * (entry - 12))) - 1
    # What follows the compressed bytes is not looked at.
    image.set(form, page + 8, largest).seal(page, size).save("fixed_chunk_large", "fixed", False)
    image.set("Q", page, FAR).seal(page, size).save("fixed_chunk_far", "fixed")

    array = image.places(b"EAHD")[0]
    image.set("Q", array + 44, FAR).seal(array, 72).save("growing_of_many", "growing", False)
    image.set("Q", array + 60, array).seal(array, 72).save("growing_of_itself", "growing")
    image.set("Q", array + 60, FAR).seal(array, 72).save("growing_far", "growing")
    image.set("B", array + 7, 64).seal(array, 72).save("growing_of_many_bits", "growing", False)

    tree = image.places(b"BTHD", [10, 11])[0]
    root = image.number("Q", tree + 16)
    image.set("Q", tree + 16, tree).seal(tree, 38).save("tree_of_itself", "tree")
    image.set("Q", tree + 16, FAR).seal(tree, 38).save("tree_far", "tree")
    image.set("H", tree + 12, 0xFFFF).seal(tree, 38).save("tree_too_deep", "tree")
    image.set("I", tree + 6, 0xFFFFFFFF).seal(tree, 38).save("tree_of_large_nodes", "tree")
    image.set("H", tree + 24, 0xFFFF).seal(tree, 38).save("tree_of_many", "tree")
    records, record_bytes = image.number("H", tree + 24), image.number("H", tree + 10)
    # The first child of the root becomes the root itself.
    child = root + 6 + records * record_bytes
    length = next(n for n in range(child - root, 4096) if checksum(image.valid[root : root + n]) == image.number("I", root + n))
    image.set("Q", child, root).seal(root, length + 4).save("tree_node_of_itself", "tree")
    image.set("Q", root + 6, FAR).seal(root, length + 4).save("tree_chunk_far", "tree")

    for name, message, changes in (
        ("single", 8, (("Q", "size", FAR),)),
        ("implicit", 1, (("Q", "extent", FAR),)),
        ("fixed", 1, (("Q", "extent", FAR),)),
    ):
        header = headers[name]
        flags = image.valid[header + 5]
        first = header + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        size = int.from_bytes(image.valid[first : first + width], "little")
        place, end = first + width, first + width + size
        step = 6 if flags & 4 else 4
        while image.valid[place] != message:
            place += step + image.number("H", place + 1)
        place += step
        for form, what, value in changes:
            # A layout of one filtered chunk: five bytes, the chunk's shape, the index, the size.
            shape = 5 + 3 * image.valid[place + 4]
            image.set(form, place + {"size": shape + 1, "extent": 4}[what], value)
        image.seal(header, end + 4 - header).save(f"{name}_{changes[0][1]}_far", name)


def make(folder):
    maker = {}
    for part in (old_groups, old_headers, new_headers, old_chunks, new_chunks):
        part(maker, folder)
    json.dump(maker, sys.stdout)


if __name__ == "__main__":
    command, folder = sys.argv[1:]
    {"make": make}[command](folder)
