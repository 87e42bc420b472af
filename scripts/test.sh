#!/usr/bin/env bash
# Runs the test suite, from nothing but Python 3.11 or newer and a network. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh dev
python -m pytest "$@"
[ -d ../shared/golden ] || echo "Left out: comparisons with reference outputs (../shared is not here)."
echo "Left out: campaigns of many minutes (run them with: scripts/test.sh -m slow)."
