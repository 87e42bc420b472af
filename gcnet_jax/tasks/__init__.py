"""What the library is for: a folder a task."""
