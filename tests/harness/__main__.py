"""Runs the harness from the command line."""

import sys

from tests.harness.run import main

sys.exit(main())
