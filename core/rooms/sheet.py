"""Contact sheet of the embedded dataset: ``python -m core.rooms.sheet docs/rooms.jpg``."""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from core.rooms.dataset import SCENES, SIZE, draw_picture


def contact_sheet(seed: int = 7, columns: int = 6, split: str = "test") -> Image.Image:
    """An image with one row a scene: its name and its first `columns` photos of a split."""
    label, gap, top = 150, 6, 6
    sheet = Image.new(
        "RGB",
        (label + columns * (SIZE + gap), top + len(SCENES) * (SIZE + gap)),
        "#fbfaf7",
    )
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(19)
    for row, scene in enumerate(SCENES):
        y = top + row * (SIZE + gap)
        pen.text((14, y + SIZE / 2), scene, fill="#222222", font=font, anchor="lm")
        for column in range(columns):
            picture = draw_picture(seed, scene, split, column)
            sheet.paste(Image.fromarray(picture.rgb), (label + column * (SIZE + gap), y))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw a contact sheet of the embedded dataset.")
    parser.add_argument("file", type=Path, help=".jpg or .png to write")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--columns", type=int, default=6)
    parser.add_argument("--split", default="test")
    given = parser.parse_args()
    sheet = contact_sheet(given.seed, given.columns, given.split)
    sheet.save(given.file, quality=84, optimize=True)
    print(f"{given.file}: {sheet.width}×{sheet.height}, {given.file.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
