"""The documentation as a site: `make docs` builds it, `make docs-serve` serves it while pages are written.

The pages lie beside this folder. What can be read from the program itself is made from it: the reference of the HTTP
API, the Python names, the command line and the problems. `stage.py` puts both into one folder, Zensical makes the site.
"""
