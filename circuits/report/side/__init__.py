"""circuits/report/side"""
