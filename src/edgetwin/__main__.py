"""`python -m edgetwin` is the command `edgetwin`."""

import sys

from edgetwin.cli import main

sys.exit(main())
