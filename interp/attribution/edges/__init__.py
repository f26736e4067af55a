"""interp/attribution/edges"""
