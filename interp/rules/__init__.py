"""interp/rules"""
