"""Data sets: image sources that end in one uint8 store. One source a file; the registry imports every module here.

A data set has `sample_shape` ((C, H, W), or (2,) for points), `num_classes` (None without labels) and
`load(split) -> Store` for the splits it has: "train" always, and what else its `splits` name; held-out pictures are
"test". It may have `class_names`, one for each class; `feature_extractor`, the name of the one that was made for it;
and `metrics`, measures that only it knows: a mapping from a name to a function of samples, of which `lower_is_better`
names some. Building one is cheap: what takes long (imports, downloads, decoding) waits for `load`, and then for a cache
that has no such store yet.
"""
