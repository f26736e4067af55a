"""interp/scores"""
