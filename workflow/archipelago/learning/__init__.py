"""Contrastive learning on image cutouts."""
