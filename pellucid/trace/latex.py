"""Explanations as LaTeX."""

import math
import re

from pellucid.trace.explanation import Explanation, Factor, Link, Term

SHOWN = 3  # products of one sum
SIGNS = {"_": r"\_", "&": r"\&", "%": r"\%", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}"}
SIGNS |= {"\\": r"$\backslash$", "~": r"$\sim$", "λ": r"$\lambda$", "Σ": r"$\Sigma$"}
SIGNS |= {"∂": r"$\partial$", "Φ": r"$\Phi$", "φ": r"$\varphi$", "²": r"$^2$", "x̂": r"$\hat{x}$", "±": r"$\pm$"}
SIGNS |= {"ᵢ": r"$_i$", "ₒ": r"$_o$", "^": r"$\wedge$"}
SIGN = re.compile("|".join(map(re.escape, SIGNS)))  # x̂ is two characters


def latex(it: Explanation) -> str:
    """Return the links as an `aligned` environment, one line for each."""
    lines = [f"  {_derivative(link.name, link.of)} &= {_sum(link)}" for link in it.links]
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


def _sum(link: Link) -> str:
    shown = link.terms[:SHOWN]
    products = [_product(term) for term in shown]
    hidden = link.count - len(shown)
    if hidden:
        left = link.total - sum(term.value for term in shown)
        products.append(rf"\underbrace{{{_bracketed(left)}}}_{{\text{{{hidden} more}}}}")
    whole = " + ".join(products) or "0"
    return f"{whole} = {number(link.gradient)}" if products else "0"


def _product(term: Term) -> str:
    return r" \cdot ".join(rf"\underbrace{{{_bracketed(factor.value)}}}_{{{_name(factor)}}}" for factor in term.factors)


def _name(factor: Factor) -> str:
    if factor.name.startswith("∂C/∂"):
        return rf"\partial C / \partial {_text(factor.name[4:])}"
    return _text(factor.name)


def _derivative(name: str, of: str) -> str:
    return rf"\frac{{\partial {of}}}{{\partial {_text(name)}}}"


def _text(name: str) -> str:
    return rf"\text{{{SIGN.sub(lambda found: SIGNS[found[0]], name)}}}"


def _bracketed(value: float) -> str:
    return f"({number(value)})" if value < 0 else number(value)


def number(value: float) -> str:
    """Return a number with six digits, powers of ten written out."""
    if not math.isfinite(value):
        return r"\text{nan}" if math.isnan(value) else r"-\infty" if value < 0 else r"\infty"
    digits, _, power = f"{value:.6g}".partition("e")
    return rf"{digits} \cdot 10^{{{int(power)}}}" if power else digits
