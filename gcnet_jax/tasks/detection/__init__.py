"""Detection of objects and their masks: Mask R-CNN and Cascade Mask R-CNN with fixed shapes."""
