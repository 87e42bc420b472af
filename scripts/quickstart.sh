#!/usr/bin/env bash
# Shows in two minutes what a global context block does, from nothing but Python (3.11 to 3.13) and a network.
# Arguments go to scripts/quickstart.py.
set -euo pipefail
cd -- "$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)"
source scripts/environment.sh run
exec python scripts/quickstart.py "$@"
