"""Classification of images: one class for each, by a backbone and a linear classifier."""
