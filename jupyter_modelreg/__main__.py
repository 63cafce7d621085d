"""``python -m jupyter_modelreg`` is the command line."""

import sys

from .doors.cli import main

sys.exit(main())
