"""Resizing images: what a size asks for, the geometry, the pixels (libvips, in a process of the pool), the steps.

Nothing here is a job type. pyvips (`errand[images]`) is imported by `pipeline` and what it stands on (`source`,
`decode`, `colour`, `encode`, `libvips`), which a worker loads for a job; the API loads the rest.
"""

from errand.images.options import image_options
from errand.images.size import Size, Strictness
from errand.images.steps import Output, fetch_source, render_sizes, store_outputs

__all__ = ["Output", "Size", "Strictness", "fetch_source", "image_options", "render_sizes", "store_outputs"]
