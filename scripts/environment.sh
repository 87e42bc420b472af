# Makes the checkout's own virtual environment in .venv and puts it on the PATH. To be sourced, from
# the root of the checkout, with the extras of pyproject.toml to install: `environment.sh dev`.
# An environment that is there and up to date is used as it is.

# Settings that would lead Python to another environment's packages.
unset PYTHONPATH PYTHONHOME

if [ ! -x .venv/bin/pip ]; then
  python=""
  for candidate in python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      python=$candidate
      break
    fi
  done
  if [ -z "$python" ]; then
    echo "error: Python 3.11, 3.12 or 3.13 is needed, and none is on the PATH" >&2
    exit 1
  fi
  echo "Making a virtual environment in .venv with $("$python" --version)"
  "$python" -m venv --clear .venv || {
    rm -rf .venv
    echo "error: $python cannot make virtual environments (on Debian: apt install python3-venv)" >&2
    exit 1
  }
fi

stamp=$(cat pyproject.toml requirements.txt | cksum)
if [ "$(cat ".venv/installed-${1:-run}" 2>/dev/null)" != "$stamp" ]; then
  echo "Installing into .venv (a few minutes the first time)"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e ".${1:+[$1]}"
  echo "$stamp" > ".venv/installed-${1:-run}"
fi
export PATH="$PWD/.venv/bin:$PATH"
