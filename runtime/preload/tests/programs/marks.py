"""Marks two epochs with a section in each, and a figure; run with and without the library."""

import sys
import time

import mizar

for number in range(2):
    with mizar.epoch():
        with mizar.section("données"):
            time.sleep(0.05)
        time.sleep(0.05)
    mizar.figure("loss", 0.5 / (number + 1))
try:
    with mizar.section("failing"):
        raise KeyError
except KeyError:
    pass
try:
    mizar.mark("x", "middle")
    sys.exit("a wrong kind was taken")
except ValueError:
    pass
print("active" if mizar.active() else "quiet")
