"""interp/formatting"""
