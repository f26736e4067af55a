"""circuits/report/drawing"""
