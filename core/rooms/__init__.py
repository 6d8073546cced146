"""The embedded dataset: a small world drawn by a ray tracer, with exact masks.

Modules: `tracer` (light and solids), `furniture` and `indoor` (rooms), `outdoor`, `colors`
(colour names of pixels), `dataset` (:class:`Rooms`), `counterfactual` (photos drawn again after an
edit), `sheet` (contact sheets).
"""

from core.rooms.dataset import SCENES, SIZE, Rooms, draw_picture

__all__ = ["SCENES", "SIZE", "Rooms", "draw_picture"]
