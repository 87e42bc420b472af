#!/usr/bin/env bash
# Shows what a global context block does, from nothing but Python 3.11 or newer and a network.
# Arguments go to scripts/quickstart.py.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh ""
exec python scripts/quickstart.py "$@"
