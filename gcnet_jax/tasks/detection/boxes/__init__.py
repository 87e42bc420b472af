"""Boxes as arrays: overlaps, anchors, coding, suppression, assignment to objects, sampling."""
