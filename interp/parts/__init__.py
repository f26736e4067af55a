"""interp/parts"""
