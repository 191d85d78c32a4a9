"""Phrases that several reports have in common."""


def plural(count: int, one: str, many: str = "") -> str:
    """``1 particle``, ``2,000 particles``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def about_boxes(box: int, pixel_size: float, contrast: str) -> str:
    """Edge in pixels and nm, and what is bright in them."""
    shade = {"bright": "particles are bright", "dark": "particles are dark"}
    edge = f"{box} px of {pixel_size:g} Å, {box * pixel_size / 10:.1f} nm"
    return f"{edge}; {shade.get(contrast, 'contrast unknown')}"


def shortened(name: str, most: int) -> str:
    """A name of at most so many letters; of a longer one the beginning."""
    return name if len(name) <= most else f"{name[: most - 1]}\N{HORIZONTAL ELLIPSIS}"
