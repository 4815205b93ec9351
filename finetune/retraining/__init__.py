"""Retraining that runs itself: prepare, train, evaluate, judge, promote or reject, report."""
