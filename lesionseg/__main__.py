"""``python -m lesionseg``."""

from lesionseg.cli import main

main()
