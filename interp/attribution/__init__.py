"""interp/attribution"""
