"""interp/dictionaries/training/data"""
