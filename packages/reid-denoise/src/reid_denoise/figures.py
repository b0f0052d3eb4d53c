"""The figure of a sweep over the criteria."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from reid_denoise.scores import Scores

NAMES = {
    "consistency": r"$\sigma_\mathrm{cst}$",
    "discrimination": r"$\sigma_\mathrm{drm}$",
    "half_range": "$r_s$ (tracklets)",
}
CURVES = {
    "precision": ("precision", "#0072B2", "-", "o"),
    "recall": ("recall", "#D55E00", "--", "s"),
    "f1": ("F1", "#009E73", "-.", "^"),
    "ari": ("ARI", "#CC79A7", ":", "D"),
    "kept": ("images kept", "#000000", "-", "v"),
    "reduction": ("identities per tracklet", "#E69F00", "--", "P"),
}
"""Label, colour (Okabe and Ito's palette), dash and marker of each quantity that is drawn."""


def sweep_figure(table: pd.DataFrame) -> Figure:
    """Draw a sweep: a panel for each criterion that was varied, the others held at the best combination.

    The best is that of the highest F1, or without known identities of the lowest n_S.

    Args:
        table: of `sweep`.

    Returns:
        The figure.

    Raises:
        ValueError: nothing was varied.

    Example:
        >>> table = pd.DataFrame({"consistency": [0.1, 0.2], "discrimination": 0.1, "half_range": 9})
        >>> len(sweep_figure(table.assign(kept=[0.5, 0.9], reduction=[1.0, 0.8], n_s=[1.0, 0.0])).axes)
        1
    """
    varied = [name for name in NAMES if table[name].nunique() > 1]
    if not varied:
        raise ValueError("the table holds one combination of criteria; sweep over several values of one")
    scored = [name for name in Scores._fields if name in table] or ["kept", "reduction"]
    best = table.loc[table["f1"].idxmax() if "f1" in table else table["n_s"].idxmin()]
    figure = Figure(figsize=(3.2 * len(varied) + 1.4, 3.4), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(varied), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, varied, strict=True):
        held = [other for other in NAMES if other != name]
        line = table[(table[held] == best[held]).all(axis=1)].sort_values(name)
        for column in scored:
            label, colour, dash, marker = CURVES[column]
            axes.plot(
                line[name], line[column], dash, color=colour, marker=marker, markersize=4.5, label=label
            )
        axes.axvline(best[name], color="0.6", linewidth=0.8)
        fixed = ", ".join(f"{NAMES[other].split(' ')[0]} = {best[other]:g}" for other in held)
        axes.set_xlabel(f"{NAMES[name]}\n{fixed}")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    if "half_range" in varied:
        panels[-1].set_xscale("log" if table["half_range"].min() > 0 else "symlog")
    panels[0].set_ylim(top=1.02)
    panels[-1].legend(fontsize=8, frameon=False)
    return figure
