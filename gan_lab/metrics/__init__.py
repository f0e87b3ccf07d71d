"""Measures of samples; every number with its provenance.

A measure is a `Metric`: a function of `MetricInputs`, which holds everything there is to look at, each computed when first
asked for, once. One pass over the samples feeds all measures. The registry imports every module here.
"""
