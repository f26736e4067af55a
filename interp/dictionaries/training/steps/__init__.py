"""interp/dictionaries/training/steps"""
