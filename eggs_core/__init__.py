"""N:M pruning of language models, guided by expander graphs: the computations behind EGGS Explorer.

This package never imports gradio, plotly or pandas, so that it can be used without the app.
"""

from eggs_core.errors import EggsError
from eggs_core.pattern import NMPattern

__all__ = ["EggsError", "NMPattern"]
