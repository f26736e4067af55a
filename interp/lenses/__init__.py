"""interp/lenses"""
