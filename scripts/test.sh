#!/usr/bin/env bash
# Runs the test suite, from nothing but Python (3.11 to 3.13) and a network. Arguments go to pytest:
# -m "not campaign and not openmmlab" adds what takes minutes, as .ci/run does; -m campaign runs what
# takes longer than that.
set -euo pipefail
cd -- "$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)"
source scripts/environment.sh dev
[ -d ../shared/camvid ] || echo "Leaving out tests on real road scenes: there is no ../shared."
python -c "import torch" 2>/dev/null ||
  echo "Leaving out comparisons with PyTorch, which is not installed (pip install torch, best its CPU build)."
# Two processes: most of a test is compilation, which keeps one core busy. One that has nothing left
# takes tests from the other.
exec python -m pytest -n 2 --dist worksteal "$@"
