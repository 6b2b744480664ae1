"""Resizing images: what a size asks for, the geometry, and the pixels (libvips, in a process of the pool).

Knows no job type.
"""
