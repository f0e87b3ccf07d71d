"""Measures of samples; every number with its provenance.

A measure is a `Metric`: a function of `MetricInputs`, which holds all there is to look at, each computed once, when
it is first asked for. One pass over the samples feeds all measures. The registry imports every module here.
"""
