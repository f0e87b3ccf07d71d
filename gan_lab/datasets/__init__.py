"""Data sets: each loads a `Store` of named columns. One source a file; the registry imports every module.

A data set has `sample_shape` ((C, H, W), or (2,) for points; for translators, that of the target), `num_classes` (None
without labels) and `load(split) -> Store` for its splits: always "train", and the others in `splits`. Held-out rows are
"test". It may also have
- `columns`, a `Column` by name, if it has others than `sample` (8 bits, or points) and `label`: see columns.py;
- `class_names`, one for each class;
- `feature_extractor`, the name of an extractor made for it;
- `metrics`, its own measures: a mapping from a name to a function of samples; `lower_is_better` names some of them;
- `split_by`, a column: rows with equal values in it are never divided between splits by validation;
- `draws_again`, True where rows share parts, so that no validation rows can be held out.

The constructor is fast. Imports, downloads and decoding are done in `load`, if the result is not in the cache.
"""
