"""Resizing images: what a size asks for, the geometry, the pixels (libvips, in a process of the pool), the steps.

Nothing here is a job type. pyvips (`errand[images]`) is imported in `pixels/` alone, which a worker loads for a job;
the API loads the rest. A job takes its args from `args` and its work from `steps`; neither is imported here, since a
process of the pool has no use for what they need.
"""

from errand.images.size import Animation, Size, Strictness

__all__ = ["Animation", "Size", "Strictness"]
