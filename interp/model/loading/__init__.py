"""interp/model/loading"""
