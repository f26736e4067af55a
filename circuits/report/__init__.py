"""circuits/report"""
