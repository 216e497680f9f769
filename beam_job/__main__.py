"""``python -m beam_job`` is ``beam-job``."""

import sys

from beam_job.cli.main import main

sys.exit(main())
