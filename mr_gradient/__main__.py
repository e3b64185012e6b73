"""``python -m mr_gradient`` is ``mr-gradient``."""

import sys

from mr_gradient.cli import main

sys.exit(main())
