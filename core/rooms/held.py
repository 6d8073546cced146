"""The tracer with its exposure held: the photo of an edited world, metered as the unedited one.

The tracer meters every photo as a camera does, so that taking a dark sofa away would brighten
each pixel a little. An edit that is to change one thing needs the meter's old reading. The
tracer's kernel neither returns nor takes it, and the drawn world is frozen
(``core.foundation.versions.WORLD``), so its own source is compiled a second time with these two
changes and no other: :func:`kernel_source` is what is compiled.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from numba import njit

from core.foundation.plain import Keywords
from core.rooms.drawing import tracer
from core.rooms.drawing.tracer import Picture, World

NAME = "_render_held"


class Drawn(NamedTuple):
    """A photo with its masks, and the reading of its meter (any unit, positive)."""

    picture: Picture
    meter: float


def kernel_source() -> ast.Module:
    """The syntax tree of the tracer's kernel, with the meter's reading as a last argument (0: as
    metered) and a last result.

    Raises RuntimeError where the tracer no longer has the one line that sets the reading and the
    one that returns: then this module must follow it.
    """
    tree = ast.parse(inspect.getsource(tracer._render.py_func))
    body = tree.body[0]
    assert isinstance(body, ast.FunctionDef)
    body.name, body.decorator_list = NAME, []
    body.args.args.append(ast.arg("held"))
    set_lines = [
        node
        for node in ast.walk(body)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "key"
    ]
    returns = [node for node in ast.walk(body) if isinstance(node, ast.Return)]
    if len(set_lines) != 1 or len(returns) != 1 or not isinstance(returns[0].value, ast.Tuple):
        raise RuntimeError("core.rooms.held no longer fits the kernel in core.rooms.drawing.tracer")
    test = ast.parse("held > 0.0", mode="eval").body
    set_lines[0].value = ast.IfExp(test, ast.Name("held", ast.Load()), set_lines[0].value)
    returns[0].value.elts.append(ast.Name("key", ast.Load()))
    return ast.fix_missing_locations(tree)


@cache
def _kernel() -> Callable[..., tuple[np.ndarray, np.ndarray, float]]:
    # Compiled under the tracer's own file name, so that numba keeps the machine code beside that
    # of the tracer and drops it when the tracer changes.
    names: Keywords = dict(vars(tracer))
    exec(compile(kernel_source(), tracer.__file__, "exec"), names)
    compiled: Callable[..., tuple[np.ndarray, np.ndarray, float]] = njit(
        cache=True, nogil=True, error_model="numpy"
    )(names[NAME])
    return compiled


def draw_held(
    world: World, size: int, meter: float = 0.0, same_seed: tuple[tuple[int, int], ...] = ()
) -> Drawn:
    """Draw a world as ``world.render(size)`` does, byte for byte, or with another meter reading.

    Parameters
    ----------
    world : not changed.
    size : side of the photo in pixels.
    meter : the reading of another drawing at this size; 0 meters this one.
    same_seed : pairs (row, row of which it is a variant) of the material table: the variant's
        pattern lies as the first one's, though patterns are shifted by the row.

    Releases the GIL while it traces.
    """
    arrays = world._arrays()
    for row, first in same_seed:
        arrays[3][row, 16] = arrays[3][first, 16]
    rgb, hit, reading = _kernel()(
        arrays, world._camera_array(), world._environment(), size, world._seed, meter
    )
    table = np.zeros((len(world._surfaces) + 2, 3), np.uint16)
    table[2:] = [row[1:] for row in world._surfaces]
    names = {plane: list(listed) for plane, listed in world._names.items()}
    if world.sky is not None and world.sky.name:
        listed = names["object"]
        if world.sky.name not in listed:
            listed.append(world.sky.name)
        table[1, 0] = listed.index(world.sky.name)
    planes = table[hit + 2]  # −1 is the sky
    one, two, three = (np.ascontiguousarray(planes[..., k]) for k in range(3))
    return Drawn(Picture(rgb, one, two, three, names), reading)
