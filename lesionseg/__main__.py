"""``python -m lesionseg``."""

import os
import sys

if sys.path[0] in ("", os.getcwd()):  # a file here that is called like a library must not take its place
    del sys.path[0]

from lesionseg.cli import main

main()
