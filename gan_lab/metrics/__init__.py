"""Measures of samples. Every number has its provenance.

A measure is a `Metric`: a function of `MetricInputs`, which computes each input once, when a measure first uses it. One
pass over the samples is enough for all measures. The registry imports every module here.
"""
