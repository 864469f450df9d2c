"""`python -m dpl.cli` is the `dpl` command."""

import sys

from dpl.cli.main import main

sys.exit(main())
