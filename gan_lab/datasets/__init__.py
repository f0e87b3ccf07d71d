"""Data sets: sources that end in one `Store` of named columns. One source a file; the registry imports every module.

A data set has `sample_shape` ((C, H, W), or (2,) for points; of translators' data the target's), `num_classes` (None
without labels) and `load(split) -> Store` for the splits it has: "train" always, and what else its `splits` name;
held-out rows are "test". It may have
- `columns`, a `Column` by name, where these are more than `sample` of 8 bits, or points, and `label`: see columns.py;
- `class_names`, one for each class;
- `feature_extractor`, the name of the one that was made for it;
- `metrics`, measures that only it knows, a mapping from a name to a function of samples; `lower_is_better` names some;
- `split_by`, the column whose equal rows validation must not divide; `draws_again`, True where none can be held out.

Building one is cheap: what takes long (imports, downloads, decoding) waits for `load`, and then for a cache that has no
such store yet.
"""
