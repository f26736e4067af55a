"""circuits/report/view"""
