"""Resizing images: what a size asks for, the geometry, the pixels (libvips, in a process of the pool), the steps.

Nothing here is a job type. pyvips (`errand[images]`) is imported by `pipeline` alone, which a worker loads for a job.
"""

from errand.images.size import Size
from errand.images.steps import Output, fetch_source, render_sizes, store_outputs

__all__ = ["Output", "Size", "fetch_source", "render_sizes", "store_outputs"]
