"""Colors of the drawings."""

from dataclasses import dataclass

Color = tuple[int, int, int]

WHITE: Color = (250, 246, 236)
INK: Color = (38, 34, 44)


def parse_color(code: str) -> Color:
    """Parses a hexadecimal color such as `"c8553d"`."""
    return int(code[0:2], 16), int(code[2:4], 16), int(code[4:6], 16)


def mix(a: Color, b: Color, amount: float) -> Color:
    """Blends `a` with `b`: `amount` 0 gives `a`, 1 gives `b`."""
    red, green, blue = (min(255, max(0, round(p + (q - p) * amount))) for p, q in zip(a, b, strict=True))
    return red, green, blue


def darken(a: Color, amount: float) -> Color:
    """Blends a color with a warm violet. A blend with black would look dirty."""
    return mix(a, (40, 26, 58), amount)


@dataclass(frozen=True)
class Scheme:
    """The colors of one subject: the body, its second color, and the accent of its details."""

    main: Color
    second: Color
    accent: Color

    @property
    def dark(self) -> Color:
        return darken(self.main, 0.62)

    @property
    def light(self) -> Color:
        return mix(self.main, WHITE, 0.72)


# All classes share these schemes, so that color does not reveal the class.
SCHEMES = tuple(
    Scheme(*(parse_color(code) for code in codes.split()))
    for codes in (
        "c8553d f2c48d 588b8b",
        "e09f3e fff3b0 9e2a2b",
        "6a994e d9e5a7 bc4749",
        "2f7f86 a8dadc f4a261",
        "5b7db1 d6e2f0 e9c46a",
        "7d4f73 e5b8c9 f2cc8f",
        "d98a94 fbe3dd 8c5471",
        "ecd9b4 b98b5e c8553d",
        "575f6e c4c9d1 e07a5f",
        "8b5e3c e3c39d d9a441",
        "98983f f0ead2 7f5539",
        "b5838d ffcdb2 6d6875",
        "3f6b5c b7d3b0 e9c46a",
        "f28f5b fde2c4 3d6b7d",
        "e8e4dc 8d99ae d98a94",
        "9a6fb0 e6d5ef 7fc29b",
    )
)
