"""interp/model"""
