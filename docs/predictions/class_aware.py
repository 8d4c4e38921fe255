#!/usr/bin/env python3
"""What class-aware draws cost in ranking on the letters, for scores that are exactly right: python3 class_aware.py SIGNAL (numpy).

A row with labels y is drawn in proportion to sum_k y_k / prevalence_k: a label at random, then one of its rows (Shen et al. 2016).
Labels are independent given the row, p_k = P(y_k = 1 | x). Under the draws, with S = sum_{j != k} p_j / prevalence_j,

    odds(y_k | x) = p_k / (1 - p_k) * (1 / prevalence_k + S) / S

which no longer grows with p_k alone: what else is on the image moves it. Prints AP of both scores and their difference.
"""

import sys

import numpy as np

PREVALENCE = np.array([0.0848, 0.2902, 0.1696, 0.4688])
ROWS = 600_000


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def intercept(u, rate):
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sigmoid(u + middle).mean() < rate else (low, middle)
    return low


def average_precision(scores, truth):
    truth = truth[np.argsort(-scores)]
    return (np.cumsum(truth) / np.arange(1, len(truth) + 1))[truth].mean()


def main():
    signal, rng = float(sys.argv[1]), np.random.default_rng(1)
    u = signal * rng.standard_normal((ROWS, len(PREVALENCE)))
    p = sigmoid(u + [intercept(u[:, 0], rate) for rate in PREVALENCE])
    truth = rng.random(p.shape) < p
    rarity = p / PREVALENCE
    best, drawn = [], []
    for k, prevalence in enumerate(PREVALENCE):
        others = rarity.sum(axis=1) - rarity[:, k]
        odds = p[:, k] / (1 - p[:, k]) * (1 / prevalence + others) / others
        best.append(average_precision(p[:, k], truth[:, k]))
        drawn.append(average_precision(odds, truth[:, k]))
    for name, a, b in zip("ABCD", best, drawn):
        print(f"{name}  {a:.4f}  {b:.4f}  {b - a:+.4f}")
    print(f"macro  {np.mean(best):.4f}  {np.mean(drawn):.4f}  {np.mean(drawn) - np.mean(best):+.4f}")


main()
