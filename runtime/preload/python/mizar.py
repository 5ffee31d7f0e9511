"""Marks for Mizar: sections of a program (epochs, steps) and figures of merit.

They appear in the job's record and report under ``--mizar=comm``; without it everything here
does nothing, so a script that marks runs anywhere. Nothing is built or installed: this one file
is enough.

    import mizar

    for epoch in range(10):
        with mizar.epoch():
            with mizar.section("data"):
                batch = load()
            loss = train(batch)
        mizar.figure("loss", loss)
"""

import contextlib
import ctypes

__all__ = ["active", "begin", "end", "epoch", "figure", "mark", "section"]

_BEGIN = 0
_END = 1


def _functions():
    """The library's two functions, or None twice where it is not preloaded."""
    try:
        program = ctypes.CDLL(None)
        mark_c, figure_c = program.mizar_mark, program.mizar_figure
    except (AttributeError, OSError):
        return None, None
    mark_c.argtypes, mark_c.restype = [ctypes.c_char_p, ctypes.c_int], None
    figure_c.argtypes, figure_c.restype = [ctypes.c_char_p, ctypes.c_double], None
    return mark_c, figure_c


_mark, _figure = _functions()


def active():
    """Is there anything that takes marks?"""
    return _mark is not None


def mark(name, kind):
    """Marks the ``"begin"`` or the ``"end"`` of a section."""
    if kind not in ("begin", "end"):
        raise ValueError(f"a mark is 'begin' or 'end', not {kind!r}")
    if _mark is not None:
        _mark(str(name).encode(), _BEGIN if kind == "begin" else _END)


def begin(name):
    """A section begins."""
    mark(name, "begin")


def end(name):
    """A section ends."""
    mark(name, "end")


@contextlib.contextmanager
def section(name):
    """The section that a ``with`` block is; ends when the block raises, too."""
    begin(name)
    try:
        yield
    finally:
        end(name)


def epoch(name="epoch"):
    """An epoch of training: a section of that name."""
    return section(name)


def figure(name, value):
    """A figure of merit: anything that ``float`` takes."""
    if _figure is not None:
        _figure(str(name).encode(), float(value))
