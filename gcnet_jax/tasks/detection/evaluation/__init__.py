"""What is detected in the images of a split, and how well it agrees with what is annotated."""
