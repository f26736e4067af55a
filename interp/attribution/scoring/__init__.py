"""interp/attribution/scoring"""
