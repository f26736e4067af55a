"""interp/attribution/features"""
