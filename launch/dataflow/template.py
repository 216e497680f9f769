"""Entry point of the Flex Template: runs ``beam-job extract`` with the template's parameters as options."""

import sys

from beam_job.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["extract", "--on=dataflow", *sys.argv[1:]]))
