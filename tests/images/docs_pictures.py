"""The pictures of `docs/images.md`, made by the service itself: `python -m tests.images.docs_pictures`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pyvips

from tests.ports import free_port
from tests.processes.conftest import ROOT, House

FOLDER = ROOT / "docs" / "images"
PHOTO = ROOT / "examples" / "photo.jpg"
BOX = {"width": 160, "height": 160}

PICTURES: dict[str, dict[str, Any]] = {
    "outside": {**BOX, "fit": "outside"},
    "gravity": {**BOX, "fit": "cover", "gravity": "east"},
    "entropy": {**BOX, "fit": "cover", "gravity": "entropy"},
    "enlarge": {"crop": {"left": 660, "top": 110, "width": 90, "height": 60}, "width": 240, "enlarge": True},
    "quality": {"width": 240, "quality": 5},
    "palette": {"width": 240, "format": "png", "palette": True, "effort": 9},
    "max-bytes": {"width": 240, "max_bytes": 1_500},
    "transparent": {**BOX, "fit": "contain", "background": "#d0305080"},
    "thumbnail": {"preset": "thumbnail", "width": 240},
    "og-image": {"preset": "og-image", "width": 240, "height": 126, "format": "webp"},
    "avatar": {"preset": "avatar", **BOX},
    "untrimmed": {**BOX, "fit": "contain", "background": "#e0e0e0", "format": "png"},
}
"""By the name of the picture: the size that makes it, of the photo among the examples."""

ANIMATION_FRAMES, ANIMATION_DELAY_MS, ANIMATION_STEP = 8, 150, 60
"""It goes over the photo, so many pixels further in each frame."""

TRIM = {"trim": 10}
"""Of the picture `untrimmed`."""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="errand-docs-", ignore_cleanup_errors=True) as folder:
        house = House(Path(folder, "house"), port=free_port(), sink_port=free_port())
        try:
            house.api()
            house.worker()
            made = _made(house, PHOTO.read_bytes(), [{"format": "webp", **size} for size in PICTURES.values()])
            files = dict(zip(PICTURES, made, strict=True))
            files["trim"] = _made(house, files.pop("untrimmed"), [{**TRIM, "format": "webp"}])[0]
            moving = {"width": 160, "format": "webp", "quality": 60}
            files["animation"] = _made(house, _animation(), [moving], animation="keep")[0]
        finally:
            house.close()
    for name, content in files.items():
        (FOLDER / f"{name}.{'png' if name == 'palette' else 'webp'}").write_bytes(content)


def _animation() -> bytes:
    """A GIF of parts of the photo."""
    photo = pyvips.Image.new_from_file(str(PHOTO))
    frames = [photo.crop(ANIMATION_STEP * number, 80, 480, 480) for number in range(ANIMATION_FRAMES)]
    joined = pyvips.Image.arrayjoin([*frames, *reversed(frames[1:-1])], across=1).copy()
    joined.set_type(pyvips.GValue.gint_type, "page-height", 480)
    joined.set_type(pyvips.GValue.array_int_type, "delay", [ANIMATION_DELAY_MS] * (2 * len(frames) - 2))
    encoded: bytes = joined.gifsave_buffer()
    return encoded


def _made(house: House, content: bytes, sizes: list[dict[str, Any]], **more: str) -> list[bytes]:
    form = {"args": json.dumps({"sizes": sizes, **more})}
    job = house.ended(house.post("/v1/jobs/resize", data=form, files={"file": ("photo.jpg", content)}))
    assert job["status"] == "succeeded", job["error"]
    return [house.http.get(house.url + output["url"]).content for output in job["result"]["outputs"]]


if __name__ == "__main__":
    main()
