"""Longhaul: raw data -> prepare -> feed -> train -> evaluate -> register, stages that meet only in files."""
