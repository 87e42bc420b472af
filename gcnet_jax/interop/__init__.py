"""Weights from OpenMMLab and torchvision, and back."""
