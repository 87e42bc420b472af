# Makes the checkout's own virtual environment in .venv and puts it on the PATH. To be sourced, from
# the root of the checkout, with "run" or "dev": what to install. An environment that is there and up
# to date is used as it is.

# Settings that would lead Python to another environment's packages.
unset PYTHONPATH PYTHONHOME

marker=.venv/made-by-gcnet_jax # holds the path it was made for: environments cannot be moved

if [ -e .venv ] && [ ! -e "$marker" ]; then
  echo "error: .venv is there, but these scripts did not make it; move it away and try again" >&2
  exit 1
fi

if [ "$(cat "$marker" 2>/dev/null)" != "$PWD" ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
  rm -rf .venv
  made=""
  for candidate in python3 python3.13 python3.12 python3.11; do
    "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || continue
    echo "Making a virtual environment in .venv with $("$candidate" --version)"
    mkdir .venv && touch "$marker" # first, so that one left half made is known as ours
    if "$candidate" -m venv .venv; then
      made=yes
      break
    fi
    rm -rf .venv
  done
  if [ -z "$made" ]; then
    echo "error: no Python 3.11, 3.12 or 3.13 on the PATH can make a virtual environment" \
      "(on Debian and Ubuntu: apt install python3-venv)" >&2
    exit 1
  fi
  echo "$PWD" > "$marker"
fi

stamp=$(cat pyproject.toml requirements.txt | cksum)
if [ "$(cat .venv/installed-dev 2>/dev/null)" != "$stamp" ] &&
  { [ "$1" = dev ] || [ "$(cat .venv/installed-run 2>/dev/null)" != "$stamp" ]; }; then
  echo "Installing into .venv (some minutes the first time)"
  extras=""
  if [ "$1" = dev ]; then extras="[dev]"; fi
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e ".$extras"
  echo "$stamp" > ".venv/installed-$1"
fi
export PATH="$PWD/.venv/bin:$PATH"
