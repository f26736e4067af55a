"""interp/attribution/auto"""
