"""Everything that touches pixels, with libvips: a source is read, decoded once, shaped and written as each output.

It runs in a process of the pool alone, and nothing here is imported by the API: pyvips is an extra.
"""

import os

# before libvips starts: its warnings about damaged images, which the errors of jobs repeat, are not written to stderr
os.environ.setdefault("VIPS_WARNING", "0")
