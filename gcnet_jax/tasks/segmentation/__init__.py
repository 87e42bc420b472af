"""Semantic segmentation: trained models, whole runs, and their pictures."""
