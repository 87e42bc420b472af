"""The commands, one module each; `scripts/` holds their entry points."""
