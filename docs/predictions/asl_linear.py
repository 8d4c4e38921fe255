"""What a linear model comes to under ASL on the letters' latents: python docs/predictions/asl_linear.py (numpy, scipy).

The score that minimises ASL is no linear function of the latent, so a linear model cannot reach the closed form of the table (which
minimises at every x by itself). Here the minimum over z = a g + b instead, by quadrature; BCE, whose best score is linear, for control.
"""
import math

import numpy as np
from scipy.optimize import brentq, minimize

G = np.linspace(-9, 9, 4001)
WEIGHT = np.exp(-G * G / 2) / np.exp(-G * G / 2).sum()
RATES = dict(A=.0848, B=.2902, C=.1696, D=.4688)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softplus(z):
    return np.logaddexp(0, z)


def asl_positive(z):
    return sigmoid(-z) * softplus(-z)


def asl_negative(z):
    shifted = np.maximum(sigmoid(z) - .05, 0)
    return shifted**4 * -np.log1p(-shifted)


def best(positive, negative, probability):
    """(a, b) of the smallest expected loss; the loss is not convex, so from several starts."""
    def risk(parameters):
        z = parameters[0] * G + parameters[1]
        return (WEIGHT * (probability * positive(z) + (1 - probability) * negative(z))).sum()
    options = dict(xatol=1e-7, fatol=1e-13, maxiter=4000)
    return min((minimize(risk, (a, b), method="Nelder-Mead", options=options) for a in (.3, 1) for b in (-1, 0, 1)), key=lambda found: found.fun).x


for signal in (.8, 2):
    for label, rate in RATES.items():
        offset = brentq(lambda b: (WEIGHT * sigmoid(signal * G + b)).sum() - rate, -20, 20)
        probability = sigmoid(signal * G + offset)
        for name, terms in dict(asl=(asl_positive, asl_negative), bce=(lambda z: softplus(-z), softplus)).items():
            a, b = best(*terms, probability)
            predicted = .5 * math.erfc(-b / a / math.sqrt(2))
            recall = (WEIGHT * probability * (a * G + b >= 0)).sum() / rate
            print(f"signal {signal} {label} {name}: predicted rate at 0.5 {predicted:.4f}, recall {recall:.4f}")
