"""One public function per operation; `reference` holds its plain float64 twin."""

from stepimp.kernels.draw import draw_tokens, project_and_draw
from stepimp.kernels.statistics import vocabulary_statistics

__all__ = ["draw_tokens", "project_and_draw", "vocabulary_statistics"]
