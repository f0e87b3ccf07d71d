"""The configuration: sections, presets, overrides and their checks, composition, and identity."""
