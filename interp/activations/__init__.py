"""interp/activations"""
