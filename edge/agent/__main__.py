"""`python -m edge.agent` is `firnline-agent`."""

import sys

from edge.agent.cli import main

if __name__ == "__main__":
    sys.exit(main())
