"""interp/dictionaries/training/loop"""
