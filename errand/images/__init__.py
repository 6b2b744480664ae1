"""Resizing images: what a size asks for, the geometry, the pixels (libvips, in a process of the pool), the steps.

Nothing here is a job type. pyvips (`errand[images]`) is imported in `pixels/` alone, which a worker loads for a job;
the API loads the rest.
"""

from errand.images.options import image_options
from errand.images.size import Animation, Size, Strictness
from errand.images.steps import Output, SourceInfo, fetch_source, render_sizes, store_outputs

__all__ = [
    "Animation",
    "Output",
    "Size",
    "SourceInfo",
    "Strictness",
    "fetch_source",
    "image_options",
    "render_sizes",
    "store_outputs",
]
