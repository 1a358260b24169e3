"""Runs a drill from the command line."""

import sys

from tests.harness.drills.run import main

sys.exit(main())
