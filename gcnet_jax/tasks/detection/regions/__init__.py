"""What lies in boxes: features aligned to them, and masks into them and out of them again."""
