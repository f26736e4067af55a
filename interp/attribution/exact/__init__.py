"""interp/attribution/exact"""
