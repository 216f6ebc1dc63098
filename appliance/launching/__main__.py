"""Started by the path of this directory; modules are looked for where the whole package is."""

# ruff: noqa: E402
import os.path
import sys

sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from appliance.launching.main import main

sys.exit(main(sys.argv[1:]))
