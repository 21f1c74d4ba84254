"""Where the things of a scene stand. All much in the same place: a decoder of one or two GFLOP
learns the shapes then, and not first where they may be."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from unclip.data.composer.scene import Placement

COUNTED = {
    2: ((0.27, 0.5), (0.73, 0.5)),
    3: ((0.5, 0.27), (0.27, 0.72), (0.73, 0.72)),
    4: ((0.28, 0.28), (0.72, 0.28), (0.28, 0.72), (0.72, 0.72)),
    5: ((0.22, 0.24), (0.78, 0.24), (0.5, 0.5), (0.22, 0.76), (0.78, 0.76)),
    6: ((0.19, 0.3), (0.5, 0.3), (0.81, 0.3), (0.19, 0.7), (0.5, 0.7), (0.81, 0.7)),
}
COUNTED_SIDE = {2: 0.42, 3: 0.4, 4: 0.38, 5: 0.3, 6: 0.28}
FLOOR = 0.96
"""Where a mount's feet stand."""
MOUNT_SIDE, RIDER_SIDE = 0.76, 0.46
SEAT_X = 0.52
SUNK = 0.14
"""How much of a rider is hidden by the mount."""
FACE_SIDE, HAT_SIDE = 0.62, 0.42


class Layout:
    """Places things; every number is moved a little by the generator it is given."""

    def __init__(self, rng: np.random.Generator, jitter: float) -> None:
        self.rng, self.jitter = rng, jitter

    def at(self, x: float, y: float, side: float) -> Placement:
        """A place that is moved by up to the jitter, of a side that differs by as much."""
        dx, dy, grow = self.jitter * self.rng.uniform(-1, 1, 3)
        return Placement(x=x + dx, y=y + dy, side=side * (1 + 2 * grow))

    def alone(self) -> tuple[Placement, ...]:
        """One thing that fills the picture."""
        return (self.at(0.5, 0.5, 0.88),)

    def in_scenery(self) -> tuple[Placement, ...]:
        """One thing that stands on the ground."""
        return (self.at(0.5, 0.58, 0.66),)

    def beside(self) -> tuple[Placement, ...]:
        """Left, then right."""
        return (self.at(0.26, 0.5, 0.45), self.at(0.74, 0.5, 0.45))

    def above(self) -> tuple[Placement, ...]:
        """Upper, then lower."""
        return (self.at(0.5, 0.26, 0.45), self.at(0.5, 0.74, 0.45))

    def row(self) -> tuple[Placement, ...]:
        """Left to right."""
        return tuple(self.at(x, 0.5, 0.3) for x in (0.17, 0.5, 0.83))

    def counted(self, count: int) -> tuple[Placement, ...]:
        """Equal things that do not touch."""
        return tuple(self.at(x, y, COUNTED_SIDE[count]) for x, y in COUNTED[count])

    def big_and_small(self) -> tuple[Placement, ...]:
        """The big one left or right of the small one."""
        big, small = (0.34, 0.83) if self.rng.random() < 0.5 else (0.66, 0.17)
        return (self.at(big, 0.5, 0.62), self.at(small, 0.64, 0.25))

    def riding(self, rider: "Shape", mount: "Shape") -> tuple[Placement, ...]:
        """The rider's lower end on the upper edge of the mount's back, both within the picture."""
        seat = mount.seat - 0.5
        below = (mount.extent[1] / 2 - seat) * MOUNT_SIDE
        height = rider.extent[1] * RIDER_SIDE * (1 - SUNK)
        scale = min(1.0, (FLOOR - 0.03) / (below + height))
        mount_y = FLOOR - scale * MOUNT_SIDE * mount.extent[1] / 2
        seat_y = mount_y + scale * MOUNT_SIDE * seat
        rider_y = seat_y - scale * RIDER_SIDE * rider.extent[1] * (0.5 - SUNK)
        move = self.at(0.0, 0.0, 1.0)
        return tuple(
            replace(place, x=place.x + move.x, y=place.y + move.y, side=place.side * scale)
            for place in (
                Placement(x=SEAT_X, y=rider_y, side=RIDER_SIDE),
                Placement(x=0.5, y=mount_y, side=MOUNT_SIDE),
            )
        )

    def wearing(self, face: "Shape", hat: "Shape") -> tuple[Placement, ...]:
        """The hat's brim a little below the top of the head."""
        head = self.at(0.5, 0.66, FACE_SIDE)
        top = head.y - head.side * face.extent[1] / 2
        brim = top + 0.14 * head.side * face.extent[1]
        hat_y = brim - HAT_SIDE * hat.extent[1] / 2
        return (head, Placement(x=head.x, y=hat_y, side=HAT_SIDE))


class Shape:
    """What placing needs to know of a sprite."""

    def __init__(self, extent: Sequence[float], seat: float) -> None:
        self.extent, self.seat = extent, seat
