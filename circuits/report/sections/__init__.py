"""circuits/report/sections"""
