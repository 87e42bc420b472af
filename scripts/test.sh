#!/usr/bin/env bash
# Runs the test suite, from nothing but Python (3.11 to 3.13) and a network. Arguments go to pytest:
# -m slow runs the campaigns that are left out otherwise.
set -euo pipefail
cd -- "$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)"
source scripts/environment.sh dev
[ -d ../shared/camvid ] || echo "Leaving out tests on real road scenes: there is no ../shared."
python -c "import torch" 2>/dev/null ||
  echo "Leaving out tests of .pth files: PyTorch is not installed (pip install torch, best its CPU build)."
# Two processes, each with whole files: most of a test is compilation, which keeps one core busy.
exec python -m pytest -n 2 --dist loadfile "$@"
