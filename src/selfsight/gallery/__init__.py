"""Pictures and pages that a person looks at."""

from selfsight.gallery.pictures import draw_views

__all__ = ["draw_views"]
