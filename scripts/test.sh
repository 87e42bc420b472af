#!/usr/bin/env bash
# Runs the test suite, from nothing but Python (3.11 to 3.13) and a network. Arguments go to pytest.
set -euo pipefail
cd -- "$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)"
source scripts/environment.sh dev
[ -d ../shared/golden ] || echo "Leaving out comparisons with reference outputs: there is no ../shared."
exec python -m pytest "$@"
