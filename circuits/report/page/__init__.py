"""circuits/report/page"""
