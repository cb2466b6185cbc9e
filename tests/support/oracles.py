"""Independent plain-loop versions of the published formulas, in fp64, one weight at a time: slow, to check against."""

import numpy as np
from scipy.optimize import linprog


def magnitude(weight):
    """|W|."""
    return [[abs(w) for w in row] for row in weight]


def wanda(weight, act_norm):
    """|W| times its input's norm."""
    return [[abs(w) * act_norm[j] for j, w in enumerate(row)] for row in weight]


def ria(weight, act_norm, exponent=0.5):
    """|W| over its column's sum plus |W| over its row's sum, times its input's norm to the exponent; 0/0 is 0."""
    rows, cols = len(weight), len(weight[0])
    result = []
    for i in range(rows):
        scores = []
        for j in range(cols):
            size = abs(weight[i][j])
            column = sum(abs(weight[r][j]) for r in range(rows))
            row = sum(abs(weight[i][c]) for c in range(cols))
            relative = (size / column if column else 0) + (size / row if row else 0)
            scores.append(relative * act_norm[j] ** exponent)
        result.append(scores)
    return result


def topn(scores, keep, group):
    """Keep the best of every group, one group at a time; the first of equals."""
    mask = []
    for row in scores:
        kept = [False] * len(row)
        for start in range(0, len(row), group):
            best = sorted(range(start, start + group), key=lambda j, row=row: (-row[j], j))
            for j in best[:keep]:
                kept[j] = True
        mask.append(kept)
    return mask


def sparsegpt(weight, gram, keep, group, mask=None, damping=0.01):
    """SparseGPT with exact inverses of the remaining columns' gram, one row and one column at a time, fp64.

    The published code gets the same numbers from one Cholesky factor; here H⁻¹ of the columns from i on is computed
    anew at every column, as the paper defines it. Returns weight and mask.
    """
    weight = np.array(weight, dtype=np.float64)
    gram = np.array(gram, dtype=np.float64)
    rows, cols = weight.shape
    for j in range(cols):
        if gram[j, j] == 0:
            gram[j, j] = 1
            weight[:, j] = 0
    gram += damping * np.mean(np.diag(gram)) * np.eye(cols)
    chosen = np.zeros((rows, cols), dtype=bool)
    first = [np.linalg.inv(gram[i:, i:])[0] for i in range(cols)]  # first row of each remaining inverse
    for r in range(rows):
        for i in range(cols):
            if i % group == 0:
                if mask is None:
                    members = range(i, i + group)
                    saliency = {j: weight[r, j] ** 2 / first[j][0] for j in members}
                    for j in sorted(members, key=lambda j: (-saliency[j], j))[:keep]:
                        chosen[r, j] = True
                else:
                    chosen[r, i : i + group] = mask[r][i : i + group]
            if not chosen[r, i]:
                error = weight[r, i] / first[i][0]
                for j in range(i, cols):
                    weight[r, j] -= error * first[i][j - i]
                weight[r, i] = 0
    return weight, chosen


def degree_optimum(scores, keep, group, bound):
    """The largest kept score with N per group and at least `bound` per column, by linear programming strip by strip."""
    scores = np.array(scores, dtype=np.float64)
    rows, cols = scores.shape
    per_row = np.kron(np.eye(rows), np.ones(group))
    per_column = np.kron(np.ones(rows), np.eye(group))
    total = 0.0
    for start in range(0, cols, group):
        strip = scores[:, start : start + group].ravel()
        solved = linprog(
            -strip,
            A_ub=-per_column,
            b_ub=-bound * np.ones(group),
            A_eq=per_row,
            b_eq=keep * np.ones(rows),
            bounds=(0, 1),
        )
        assert solved.success, solved.message
        total -= solved.fun
    return total


def largest_diagonals(scores: list[list[float]], keep: int, group: int, count: int) -> list[list[bool]]:
    """The `count` diagonals of the largest sums in every strip, at most `keep` in a tile, then each row by score."""
    mask = [[False] * len(row) for row in scores]
    for start in range(0, len(scores[0]), group):
        found = []
        for top in range(0, len(scores) - group + 1, group):
            sums = [sum(scores[top + i][start + (i + d) % group] for i in range(group)) for d in range(group)]
            best = sorted(range(group), key=lambda d, s=sums: -s[d])[:keep]
            found += [(sums[d], top, d) for d in best]
        for _, top, d in sorted(found, key=lambda x: -x[0])[:count]:
            for i in range(group):
                mask[top + i][start + (i + d) % group] = True
        for row, kept in zip(scores, mask, strict=True):
            rest = sorted((c for c in range(start, start + group) if not kept[c]), key=lambda c, r=row: -r[c])
            for c in rest[: keep - sum(kept[start : start + group])]:
                kept[c] = True
    return mask
