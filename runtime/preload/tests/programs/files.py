"""Writes and syncs a file, waits for a pipe, and prints how long the file's part took by the clock."""

import os
import sys
import threading
import time

import mizar

# The first mark begins the watch.
mizar.begin("all")
data = b"x" * (64 << 20)
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
begin = time.monotonic()
written = os.write(file, data)
os.fsync(file)
took = time.monotonic() - begin
reader, writer = os.pipe()
threading.Timer(0.5, os.write, (writer, b"late")).start()
os.read(reader, 4)
mizar.end("all")
print(written, took)
