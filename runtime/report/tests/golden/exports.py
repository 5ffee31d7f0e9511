"""Reads exports back with Python's own tools and prints what they hold as JSON: exports.py KIND PATH.

Called by tests/exports.rs: `comment` decodes a jobstats AdminComment (base64, gzip, ASCII JSON) as
jobstats' readers do; `csv` reads an omnistat file with pandas, levels and all.
"""

import base64
import gzip
import json
import sys

kind, path = sys.argv[1:]
if kind == "comment":
    text = open(path, encoding="ascii").read().strip()
    assert text.startswith("JS1:H4s"), text[:12]
    packed = gzip.decompress(base64.b64decode(text[4:], validate=True))
    packed.decode("ascii")
    assert b", " not in packed and b": " not in packed, "not compact"
    print(json.dumps(json.loads(packed)))
else:
    import pandas

    depth = {"omnistat-rocm.gpu.csv": 3, "omnistat-host.csv": 2, "omnistat-network.csv": 4, "omnistat-vendor.csv": 3}
    table = pandas.read_csv(path, header=list(range(depth[path.rsplit("/", 1)[1]])), index_col=0, parse_dates=True)
    print(json.dumps({
        "levels": list(table.columns.names),
        "index": table.index.name,
        "columns": [list(column) for column in table.columns],
        "rows": len(table),
        "first": str(table.index[0]),
        "last": [None if value != value else float(value) for value in table.iloc[-1]],
    }))
