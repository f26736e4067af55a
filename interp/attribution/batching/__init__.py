"""interp/attribution/batching"""
