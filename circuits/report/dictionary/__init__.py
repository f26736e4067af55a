"""circuits/report/dictionary"""
