"""interp/attribution/protocol"""
