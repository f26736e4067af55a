"""interp/dictionaries/training/checkpoints"""
