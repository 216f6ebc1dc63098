"""The edges of every image, as a grey PNG of the same name."""

from pathlib import Path

from PIL import Image, ImageFilter

for image in Path("/pfs/images").rglob("*.*"):
    edges = Image.open(image).convert("L").filter(ImageFilter.FIND_EDGES)
    edges.save(Path("/pfs/out", f"{image.stem}.png"))
